"""datasette opens the file as it is: tables and canned queries answer, on the projection of a trace that was played over NATS."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kvbm_nats.projection.schema import metadata
from support.service import KVBM

pytest.importorskip("datasette", reason="DATASETTE IS NOT TESTED: pip install datasette")
ROOT = Path(__file__).resolve().parents[2]
METADATA = ROOT / "deploy" / "datasette" / "metadata.yaml"
DESCRIBED = yaml.safe_load(METADATA.read_text())["databases"]["projection"]
QUERIES = DESCRIBED["queries"]
PAGE = (ROOT / "docs" / "datasette.md").read_text()
ANSWER_ALL = """
import asyncio, json, sys
from datasette.app import Datasette
from datasette.utils import parse_metadata

async def main(file, metadata, paths):
    served = Datasette([file], metadata=parse_metadata(open(metadata).read()), settings={"sql_time_limit_ms": 60000})
    answers = [await served.client.get(path) for path in paths]
    json.dump([[answer.status_code, answer.text] for answer in answers], sys.stdout)

asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
"""


@pytest.fixture(scope="module")
def file(nats_url, tmp_path_factory):
    """A projection of a short generated trace, played against tiers that are too small for it."""
    folder = tmp_path_factory.mktemp("datasette")

    def kvbm(*words):
        return subprocess.run([KVBM, *words], check=True, capture_output=True, text=True, timeout=120)

    kvbm("trace", "make", folder / "trace.jsonl", "--requests", "40", "--seed", "7")
    played = "--instance=canned", "--nats-url", nats_url
    kvbm("trace", "run", folder / "trace.jsonl", "--tiers=g1=256,g2=512", "--layout=tiny", *played)
    kvbm("project", "--once", "--into", folder / "projection.db", "--nats-url", nats_url)
    return folder / "projection.db"


@pytest.fixture(scope="module")
def get(file):
    """Answers of datasette's JSON API, of a process of its own that is asked all at once."""

    def ask(*paths):
        command = [sys.executable, "-c", ANSWER_ALL, file, METADATA, json.dumps(paths)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        return [(status, json.loads(text)) for status, text in json.loads(done.stdout)]

    return ask


def test_every_table_answers(get):
    answers = get(*(f"/projection/{table}.json?_size=1" for table in metadata.tables))
    for table, (status, answer) in zip(metadata.tables.values(), answers, strict=True):
        assert status == 200, table.name
        assert set(answer["columns"]) - {"rowid"} == set(table.columns.keys())


def test_every_table_is_described_by_columns_that_it_has():
    assert set(DESCRIBED["tables"]) == {table.name for table in metadata.tables.values()}
    for table in metadata.tables.values():
        told = DESCRIBED["tables"][table.name]
        assert told["description"]
        assert set(told.get("columns", ())) <= set(table.columns.keys()), table.name


def test_every_canned_query_gives_rows(get):
    (_, journal), (_, tiers), (_, found) = get(
        "/projection/journal.json?_size=1&_sort_desc=seq&_shape=array",
        "/projection/tier.json?_shape=array&_where=instance_id=(select+id+from+instance+where+name='canned')",
        "/projection/hottest_prefixes.json?_shape=array",
    )
    given = f"key={found[0]['last_key']}&instance=canned&tier=g2&seq={journal[0]['seq']}"
    answers = dict(
        zip(QUERIES, get(*(f"/projection/{name}.json?_shape=array&{given}" for name in QUERIES)), strict=True)
    )
    for name, (status, rows) in answers.items():
        assert status == 200, (name, rows)
        assert rows, f"{name} gives no rows"
    (g2,) = [tier for tier in tiers if tier["tier"] == "g2"]
    everything = get(f"/projection/in_a_tier_at_a_moment.json?_shape=array&_size=max&{given}")[0][1]
    assert len(everything) == g2["registered"], "what is there at the end is what the state has"


def test_the_command_of_the_page_opens_it(file):
    (words,) = re.findall(r"^datasette (projection\.db .*)$", PAGE, re.MULTILINE)
    given = words.replace("projection.db", str(file)).replace("deploy/", f"{ROOT}/deploy/").split()
    command = [KVBM.with_name("datasette"), *given, "--get", "/projection/evictions.json?_shape=array"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert {row["reason"] for row in json.loads(done.stdout)} >= {"capacity"}


def test_the_page_tells_every_query_and_what_it_asks_for():
    rows = re.findall(r"^\| `(\w+)` \| .+? \| (.*?) ?\|$", PAGE, re.MULTILINE)
    asked = {name: set(re.findall(r"(?<!:):([a-z]+)", query["sql"])) for name, query in QUERIES.items()}
    assert {name: set(re.findall(r"`(\w+)`", parameters)) for name, parameters in rows} == asked
