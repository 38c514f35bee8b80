"""docs/projection.md is true: its queries give the right answers, its program runs, its tables are the schema's."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from kvbm_events.memory import MemoryLog
from kvbm_events.schema import ROOT, Released, TierSpec
from kvbm_nats.projection import Projection
from kvbm_nats.projection.schema import metadata
from kvbm_statemachine import State, evolve
from kvbm_statemachine.decide import (
    Desk,
    allocate,
    complete_transfer,
    evict,
    fail_transfer,
    match,
    offload,
    onboard,
    plan_opening,
    register,
    release,
)
from projection.checks import caught_up

ROOT_FOLDER = Path(__file__).resolve().parents[2]
PAGE = (ROOT_FOLDER / "docs" / "projection.md").read_text()
CANNED = yaml.safe_load((ROOT_FOLDER / "deploy" / "datasette" / "metadata.yaml").read_text())
KEY = "0f343b0931126a20f133d67c2b018a3b"
KEYS = [f"{number:032x}" for number in range(3)] + [KEY] + [f"{number:032x}" for number in range(4, 8)]
TIERS = [TierSpec(tier="g1", capacity=8), TierSpec(tier="g2", capacity=16)]
START_US = 1_700_000_040_000_000
"""2023-11-14 22:14:00 UTC."""
OF_THE_PAGE = dict(re.findall(r"^(\S[^\n]*):\n\n```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
QUERIES = OF_THE_PAGE | {each["title"]: each["sql"] for each in CANNED["databases"]["projection"]["queries"].values()}
PARAMETERS = {"key": KEY, "instance": "replica-0", "tier": "g2", "seq": 12}
ANSWERS = {
    "What is in each tier now": [("replica-0", "g1", 0, 7, 1, 8), ("replica-0", "g2", 4, 0, 12, 16)],
    "Hit ratio by tier and hour, in percent of the blocks that were asked for": [
        ("2023-11-14 22:00:00", 19, "g1", 21.1),
        ("2023-11-14 22:00:00", 19, "g2", 26.3),
    ],
    "Who evicted the most blocks, why, and for whom": [
        ("g1", "lineage-lru", "capacity", "req-8", 5),
        ("g1", "ops", "operator", "", 1),
    ],
    "Evictions by tier and reason": [
        ("replica-0", "g1", "capacity", 1, 5, "2023-11-14 22:15:00"),
        ("replica-0", "g1", "operator", 1, 1, "2023-11-14 22:15:00"),
    ],
    "Prefixes that were found most often, by the key of their last block": [
        ("replica-0", KEY, 2, 2, "g1,g2"),
        ("replica-0", KEYS[0], 1, 1, "g2"),
    ],
    "Transfers that took longest, from their order to their last block": [
        ("replica-0", "2.10", "g1", "g2", 0.0, 2, None, 1, 14),
        ("replica-0", "2.4", "g1", "g2", 0.0, 4, None, 0, 8),
    ],
    "Requests that missed the most blocks": [
        ("replica-0", "req-1", 1, 4, 4, "2023-11-14 22:14:00"),
        ("replica-0", "req-9", 2, 9, 4, "2023-11-14 22:15:00"),
        ("replica-0", "req-7", 1, 6, 2, "2023-11-14 22:15:00"),
    ],
    "The life of a block, by its key": [
        (3, "2023-11-14 22:14:00.000", "replica-0", "Registered", "g1", "req-0", None, None),
        (5, "2023-11-14 22:14:00.000", "replica-0", "Matched", None, "req-1", None, None),
        (7, "2023-11-14 22:14:00.000", "replica-0", "Registered", "g1", "req-1", None, None),
        (8, "2023-11-14 22:14:00.000", "replica-0", "OffloadStarted", "g2", None, "2.4", None),
        (9, "2023-11-14 22:14:00.000", "replica-0", "OffloadCompleted", "g2", None, "2.4", None),
        (11, "2023-11-14 22:15:00.500", "replica-0", "Matched", None, "req-7", None, None),
        (18, "2023-11-14 22:15:00.500", "replica-0", "Evicted", "g1", "req-8", None, "capacity"),
        (21, "2023-11-14 22:15:00.500", "replica-0", "Matched", None, "req-9", None, None),
        (23, "2023-11-14 22:15:00.500", "replica-0", "OnboardStarted", "g1", "req-9", "2.19", None),
    ],
    "What was in a tier at a moment, by a sequence of the log": [(slot, KEYS[slot], 9) for slot in range(4)],
    "Where a key is now": [("replica-0", "g2", 3, 2, 9)],
    "Where it was, and from when to when": [
        ("replica-0", "g1", 3, 3, 4),
        ("replica-0", "g1", 3, 7, 18),
        ("replica-0", "g2", 3, 9, None),
    ],
    "The story of a request, and what was evicted for it": [
        (18, "22:15:00.500", "Evicted", "g1", 5, "capacity"),
        (19, "22:15:00.500", "Allocated", "g1", 8, None),
        (20, "22:15:00.500", "Released", "g1", 5, "finished"),
    ],
    "Open requests that hold the most (at most so many: a block that one found twice counts twice)": [
        ("replica-0", "req-8", 50, 8, "2023-11-14 22:15:00"),
        ("replica-0", "req-9", 50, 4, "2023-11-14 22:15:00"),
    ],
    "Open transfers, and the blocks that are still on their way": [
        ("replica-0", "2.19", "onboard", "g2", "g1", "req-9", 4, "2023-11-14 22:15:05"),
    ],
    "Transfers that failed": [("OffloadFailed", "g2", "no route", 1, 2)],
    "When owners began, and which tiers had kept their blocks": [
        ("replica-0", 1, "2023-11-14 22:14:00", 1, "host-1", "[]"),
        ("replica-0", 4, "2023-11-14 22:14:00", 2, "host-1", '["g2"]'),
    ],
}


def events():
    """Two minutes of an instance: every answer of the page can be read off here."""
    state, made = State(), []
    desk = Desk(state, made.append, START_US)
    begin(desk, keep=[])
    register(desk, "g1", "req-0", allocate(desk, "g1", "req-0", 4), KEYS[:4], ROOT)
    begin(desk, keep=["g2"])
    match(desk, "req-1", KEYS[:4])
    register(desk, "g1", "req-1", allocate(desk, "g1", "req-1", 4), KEYS[:4], ROOT)
    down = offload(desk, "g1", "g2", KEYS[:4], deadline_us=START_US + 1_000_000)
    complete_transfer(desk, down.transfer)
    release(desk, "req-1")

    desk.now_us += 60_500_000
    match(desk, "req-7", KEYS[:6])
    register(desk, "g1", "req-7", allocate(desk, "g1", "req-7", 2), KEYS[4:6], KEYS[3])
    lost = offload(desk, "g1", "g2", KEYS[4:6], deadline_us=desk.now_us)
    fail_transfer(desk, lost.transfer, reason="no route")
    release(desk, "req-7")
    evict(desk, "g1", [KEYS[5]], reason="operator", actor="ops")
    allocate(desk, "g1", "req-8", 8)
    release(desk, "req-8", tier="g1", slots=[0, 1, 2, 3, 4])
    match(desk, "req-9", KEYS[:8])
    match(desk, "req-9", KEYS[:1], hold=False)
    onboard(desk, "g2", "g1", KEYS[:4], request="req-9", deadline_us=desk.now_us + 5_000_000)
    return made


def begin(desk, keep):
    plan = {"namespace": "model=test", "owner": "host-1", "tiers": TIERS, "requests": "dropped", "now_us": START_US}
    opened = plan_opening(desk.state, keep=keep, **plan)
    evolve(desk.state, opened)
    desk.sink(opened)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    log = MemoryLog()
    for event in events():
        log.store("replica-0", event)
    log.store("replica-0", Released(epoch=1, n=99, at_us=START_US, request="req-8"))  # by an owner that is superseded
    file = tmp_path_factory.mktemp("kept") / "projection.db"
    asyncio.run(caught_up(str(file), log))
    return file


@pytest.mark.parametrize("question", QUERIES)
def test_a_query_of_the_page_gives_the_answer(path, question):
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        assert db.execute(QUERIES[question], PARAMETERS).fetchall() == ANSWERS[question]


def test_every_query_is_asked():
    assert PAGE.count("```sql") == len(OF_THE_PAGE)
    assert set(QUERIES) == set(ANSWERS)


def test_the_program_of_the_page_runs(path):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = program.replace("sqlite:///projection.db", f"sqlite:///{path}")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.splitlines() == [
        "up to 24",
        "g1 0 of 8",
        "g2 4 of 16",
        "was in g1 from 3 to 4",
        "was in g1 from 7 to 18",
        "was in g2 from 9 to now",
        "1 Opened None",
        "2 Allocated req-0",
        "3 Registered req-0",
        "24 events",
    ]


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_a_table_and_its_columns_are_told(table):
    (row,) = re.findall(rf"^\| `{table.name}` \|.*$", PAGE, re.MULTILINE)
    for column in table.columns:
        assert re.search(rf"`{column.name}`", row), column.name


def test_every_answer_of_the_reading_api_is_told():
    answers = {name for name in vars(Projection) if not name.startswith("_")} - {"close"}
    for name in answers:
        assert re.search(rf"`{name}`|projection\.{name}\(", PAGE), name
