"""why-miss on recorded traces at 5 % capacity: for 200 sampled misses the answer of a slow, obvious look through the raw log."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import NamedTuple

import pytest

from explain.played import Engine
from explain.raw_log import RawLog, as_answer
from kvbm_events.log import Entry
from kvbm_events.memory import MemoryLog
from kvbm_nats.explain import miss_causes, why_miss
from kvbm_nats.projection import open_projection
from kvbm_nats.traces import load_trace
from kvbm_nats.traces.request import TraceRequest
from projection.checks import caught_up

pytestmark = pytest.mark.timeout(600)  # a trace is played, projected and looked through before the first test
INSTANCE = "replica-0"
SAMPLES = 200


class Case(NamedTuple):
    """Files of which the first requests are played side by side, and causes that the sample must have.

    The plan has 5 % of the blocks that there are, with `g1_share` of them in g1 and the others, if any, in a selective g2.
    """

    files: list[str]
    requests: int
    g1_share: float
    overlap: int
    causes: set[str]


class Played(NamedTuple):
    entries: list[Entry]
    url: str
    causes: set[str]


SIXTEEN = [
    f"claude_code/trace_{number:04}.json.gz"
    for number in (40, 56, 98, 142, 224, 403, 537, 561, 576, 601, 614, 617, 621, 692, 704, 721)
]
CASES = {
    "conversation": Case(["mooncake_conversation.jsonl.gz"], 2000, 1, 3, {"diverged", "evicted", "in_flight", "new"}),
    "claude-code": Case(["claude_code/trace_0714.json.gz"], 2000, 0.5, 2, {"diverged", "in_flight", "new"}),
    "claude-code, 16 sessions": Case(SIXTEEN, 800, 0.4, 1, {"diverged", "evicted", "new", "not_admitted"}),
}


def requests_of(case: Case, folder: Path) -> list[TraceRequest]:
    """The first requests of all files, side by side."""
    every = (each for file in case.files for each in load_trace(folder / file))
    return sorted(every, key=lambda each: each.at_s)[: case.requests]


def plan_of(case: Case, trace: list[TraceRequest]) -> str:
    """A twentieth of the trace's blocks."""
    size = len({key for each in trace for key in each.keys}) // 20
    g1 = round(size * case.g1_share)
    return f"g1={g1},g2={size - g1}:selective/2" if g1 < size else f"g1={g1}"


@pytest.fixture(scope="module", params=CASES, ids=str)
def played(request, real_traces: Path, tmp_path_factory) -> Played:
    case = CASES[request.param]
    trace = requests_of(case, real_traces)
    log = MemoryLog()
    Engine(log, INSTANCE, plan_of(case, trace), f"block_tokens={trace[0].block_tokens}", overlap=case.overlap).play(
        trace
    )
    file = tmp_path_factory.mktemp("kept") / "projection.db"

    async def project() -> list[Entry]:
        await caught_up(str(file), log)
        return [entry async for batch in log.read(until=await log.last_seq()) for entry in batch]

    return Played(asyncio.run(project()), str(file), case.causes)


async def test_the_answer_is_that_of_the_raw_log(played: Played):
    raw = RawLog(played.entries)
    look_ups = [(seq, event) for seq, event in raw.events if type(event).__name__ == "Matched" and event.missed]
    sample = dict(random.Random(5).sample(look_ups, SAMPLES))
    expected = raw.answers(set(sample))
    causes = set[str]()
    async with open_projection(played.url) as projection:
        for seq, event in sorted(sample.items()):
            found = await why_miss(projection, event.request, until=seq)
            assert found is not None
            assert found.seq == seq
            assert [as_answer(loss) for loss in found.losses] == expected[seq], seq
            causes.update(loss.cause for loss in found.losses)
            assert sum(loss.blocks for loss in found.losses) == found.missed
    assert causes >= played.causes


async def test_the_causes_of_all_add_up(played: Played):
    raw = RawLog(played.entries)
    matched = [(seq, event) for seq, event in raw.events if type(event).__name__ == "Matched"]
    last = random.Random(6).sample(matched, 1)[0][0]
    some = [(seq, event) for seq, event in matched if seq <= last][-SAMPLES:]
    expected = raw.answers({seq for seq, _ in some})
    async with open_projection(played.url) as projection:
        found = await miss_causes(projection, after=some[0][0] - 1, until=last)
    assert (found.look_ups, found.asked) == (len(some), sum(event.asked for _, event in some))
    blocks: dict[str, int] = {}
    for answers in expected.values():
        for answer in answers:
            blocks[answer.cause] = blocks.get(answer.cause, 0) + answer.blocks
    assert {each.cause: each.blocks for each in found.causes} == blocks
    assert found.missed == sum(blocks.values())
    assert found.with_misses == sum(bool(answers) for answers in expected.values())
