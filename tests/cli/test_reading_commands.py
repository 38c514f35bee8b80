"""Every reading command on a real server: its exit codes, and that `--json` is as its schema in `docs/schemas` says."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from jsonschema import Draft202012Validator

from kvbm_events.schema import AnyEvent
from kvbm_nats.cli.schemas import as_text, schemas
from kvbm_nats.cli.tail import EventName
from kvbm_nats.nats_server import NatsServer
from support.service import ServiceProcess

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
INSTANCE = "replica-0"
NOBODY = "f" * 32


class Site(NamedTuple):
    """A server with the log of a played trace, a projection of it, one that is damaged, and names that are in all."""

    folder: Path
    url: str
    key: str
    request: str
    missed: str
    last: int
    event: str

    def kvbm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        named = {name: str(value) for name, value in zip(self._fields, self, strict=True)}
        return command(self.url, *(each.format(**named) for each in arguments))


def command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvbm_nats.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "KVBM_NATS_URL": url, "KVBM_INSTANCE": INSTANCE},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Any:
    folder = tmp_path_factory.mktemp("site")
    trace, run = str(folder / "made.jsonl"), ("--tiers", "g1=400,g2=900", "--folder", str(folder))
    with NatsServer(folder / "server") as server:
        for arguments in (
            ("trace", "make", trace, "--requests", "40"),
            ("trace", "run", trace, "--block-tokens", "64", *run),
            ("project", "--once", "--into", str(folder / "p.db")),
            ("replay", "--export", str(folder / "log.jsonl")),
        ):
            done = command(server.url, *arguments)
            assert done.returncode == 0, done.stderr
        shutil.copy(folder / "p.db", folder / "other.1.db")
        (folder / "other.db").symlink_to("other.1.db")
        with closing(sqlite3.connect(folder / "other.db")) as damaged, damaged:
            damaged.execute("update tier set free = free + 1")
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        events = [line["event"] for line in lines]
        stored = next(event for event in events if event["type"] == "Registered")
        missed = [event for event in events if event["type"] == "Matched" and event.get("missed")]
        yield Site(
            folder,
            server.url,
            stored["keys"][:32],
            stored["request"],
            missed[-1]["request"],
            lines[-1]["seq"],
            json.dumps(stored, separators=(",", ":")),
        )


CASES = [
    # schema, exit code, arguments; --json is added
    ("block-show", 0, "block show {key} --history --projection {folder}/p.db"),
    ("block-show", 0, "block show {key}"),
    ("block-show", 1, f"block show {NOBODY} --projection {{folder}}/p.db"),
    ("", 2, "block show zz --projection {folder}/p.db"),
    ("request-show", 0, "request show {request} --projection {folder}/p.db"),
    ("request-show", 1, "request show nobody --projection {folder}/p.db"),
    ("", 2, "request show {request} --projection {folder}/none.db"),
    ("request-list", 0, "request list --order missed --projection {folder}/p.db"),
    ("request-list", 1, "request list --containing nobody --projection {folder}/p.db"),
    ("", 2, "request list --limit 0 --projection {folder}/p.db"),
    ("why-miss", 0, "why-miss {missed} --projection {folder}/p.db"),
    ("why-miss", 1, "why-miss nobody --projection {folder}/p.db"),
    ("", 2, "why-miss --projection {folder}/p.db"),
    ("why-miss-top", 0, "why-miss --top --projection {folder}/p.db"),
    ("why-miss-top", 1, "why-miss --top --at 1 --projection {folder}/p.db"),
    ("", 2, "why-miss --top --limit 0 --projection {folder}/p.db"),
    ("state", 0, "state --at 30 --projection {folder}/p.db"),
    ("state", 1, "state --instance nobody --projection {folder}/p.db"),
    ("", 2, "state --at 99999999 --projection {folder}/p.db"),
    ("diff", 0, "diff {last} {last} --projection {folder}/p.db"),
    ("diff", 1, "diff 30 {last} --projection {folder}/p.db"),
    ("diff", 0, "diff {folder}/p.db {folder}/p.db"),
    ("", 2, "diff 30 {folder}/p.db"),
    ("tail", 0, "tail --no-follow --last 200"),
    ("tail", 0, "tail --at {last} --event Evicted --reason capacity"),
    ("", 2, "tail --last -1"),
    ("replay", 0, "replay --verify"),
    ("", 2, "replay --instance nobody"),
    ("project", 0, "project --verify --into {folder}/p.db"),
    ("project", 1, "project --verify --into {folder}/other.db"),
    ("", 2, "project --verify --into {folder}/none.db"),
    ("", 2, "project --once --into {folder}/p.db"),
    ("decode", 0, "decode {event}"),
    ("", 2, "decode nothing"),
    ("what-if", 0, "what-if {folder}/log.jsonl --policy lru,arc"),
    ("", 2, "what-if {folder}/none.jsonl"),
    ("trace-stats", 0, "trace stats {folder}/made.jsonl"),
    ("", 2, "trace stats {folder}/none.jsonl"),
    ("trace-run", 0, "trace run {folder}/made.jsonl --block-tokens 64 --via memory --tiers g1=300,g2=600"),
    ("trace-stats", 0, "trace make {folder}/new.jsonl --requests 2"),
    ("", 2, "trace run {folder}/made.jsonl --tiers nonsense"),
    ("fsck", 0, "fsck --folder {folder}"),
    ("", 2, "fsck"),
    ("quarantine", 0, "quarantine"),
    ("", 2, "quarantine --instance nobody"),
    ("doctor", None, "doctor --folder {folder}"),
    ("doctor", 2, "doctor --folder {folder} --nats-url nats://127.0.0.1:1"),
    ("", 2, "status --instance nobody"),
]


def assert_written_as(schema: str, written: str) -> None:
    validator = Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text()))
    lines = written.splitlines()
    assert lines or schema == "state", "a machine gets an answer"
    for line in lines:
        validator.validate(json.loads(line))


@pytest.mark.parametrize(("schema", "code", "arguments"), CASES, ids=str)
def test_exit_code_and_schema(site, schema, code, arguments):
    done = site.kvbm(*arguments.split(), "--json")
    assert "Traceback" not in done.stderr
    if code is None:
        assert done.returncode in {0, 1}, "fit, or worse than it should be: that is the machine's"
    else:
        assert done.returncode == code, done.stderr
    if schema:
        assert_written_as(schema, done.stdout)
    else:
        assert done.stdout == ""
        assert done.stderr.startswith("kvbm: ")


def test_a_tier_is_told_with_what_is_in_its_memory(site):
    told = [
        json.loads(line)
        for line in site.kvbm("tail", "--no-follow", "--json", "--last", "10000", "--tier", "g2").stdout.splitlines()
    ]
    (attached,) = [line["event"] for line in told if line["event"]["type"] == "Attached"]
    names = {each["tier"]: each["name"] for each in attached["contents"]}
    assert {line["event"].get("tier", "g2") for line in told} == {"g2"}
    assert not [line for line in told if line["event"]["type"] in {"Matched", "Released"}]
    (state,) = [json.loads(line) for line in site.kvbm("state", "--json").stdout.splitlines()]
    assert state["contents"] == {tier: {"0": name} for tier, name in names.items()}
    assert f"g2 has {names['g2']} (rank 0)" in site.kvbm("state").stdout.splitlines()
    assert site.kvbm("tail", "--no-follow", "--tier", "g4").stdout == ""


def test_a_file_that_is_not_there_is_named(site):
    told = site.kvbm("diff", "{folder}/none.db", "{folder}/p.db").stderr
    assert told.splitlines()[-1].endswith(f"{site.folder}/p.db is one, {site.folder}/none.db is not")


async def test_status_is_as_its_schema_says(kvbm, nats_url, instance):
    service = await ServiceProcess(nats_url, instance).start()
    try:
        done = kvbm("status", "--digest", "--json", "--nats-url", nats_url, "--instance", instance)
    finally:
        await service.terminate()
    assert done.returncode == 0, done.stderr
    assert_written_as("status", done.stdout)


def test_the_files_are_what_is_written():
    made = {f"{name}.json": as_text(schema) for name, schema in schemas().items()}
    assert made == {path.name: path.read_text() for path in SCHEMAS.glob("*.json")}, (
        "python -m kvbm_nats.cli.schemas docs/schemas"
    )


@pytest.mark.parametrize("name", sorted(schemas()))
def test_a_schema_is_one(name):
    Draft202012Validator.check_schema(schemas()[name])


def test_a_schema_refuses_what_is_not_so():
    validator = Draft202012Validator(schemas()["why-miss"])
    assert validator.is_valid(None)
    assert not validator.is_valid({"request": "req-1"})


def test_tail_knows_every_event():
    assert set(get_args(EventName)) == {kind.__name__ for kind in get_args(AnyEvent)}


def test_every_case_of_the_table_has_a_schema_and_every_schema_a_case():
    elsewhere = {"status", "stat", "check"}
    assert {schema for schema, _, _ in CASES if schema} | elsewhere == set(schemas())
