"""Asking the projection of a long log: a block's history, the state of any moment, and keeping up while somebody asks.

A block-event is a slot that an event names. The history is of 10 M of them: prompts of 512 blocks that return, in a pool of
100 k slots, which is full after the first hundredth part; so a block comes and goes several times. A second process asks for
histories of blocks without a pause while the projector writes, and the pace of each fifth is a round.
"""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from harness import Row, figure, make_row
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import AnyEvent, Matched, TierSpec, total
from kvbm_nats.explain import block_life, contents_at
from kvbm_nats.projection import Projector, open_projection
from kvbm_statemachine import State, evolve
from kvbm_statemachine.decide import Desk, allocate, match, plan_opening, register, release

INSTANCE = "replica-0"
BATCH = 512
SLOTS = 100_000
PROMPTS = 2_000
"""Prompts that return: ten times what the pool holds."""
PARTS = 5
ASKED, MOMENTS = 200, 50
HISTORY_MS, MOMENT_MS, PACE = 50.0, 1000.0, 0.3
READER = """
import asyncio, random, signal, sys, time
from kvbm_nats.explain import block_life
from kvbm_nats.projection import open_projection

async def main():
    chance, keys, took, stops = random.Random(2), sys.argv[2:], [], []
    signal.signal(signal.SIGTERM, lambda *_: stops.append(True))
    print("reading", flush=True)
    async with open_projection(sys.argv[1]) as projection:
        while not stops:
            start = time.perf_counter()
            until = (await projection.position()).seq
            await block_life(projection, chance.choice(keys), until=until)
            took.append(time.perf_counter() - start)
    print(len(took), sorted(took)[len(took) // 2], max(took), flush=True)

asyncio.run(main())
"""


class History(NamedTuple):
    """A log, how many block-events it holds up to each entry, and some of the keys in it."""

    log: MemoryLog
    written: list[int]
    keys: list[str]


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """A history of 10 M block-events, or of 0.5 M in a smaller pool if `quick`."""
    history = _history(500_000, SLOTS // 20, PROMPTS // 20) if quick else _history(10_000_000, SLOTS, PROMPTS)
    what = f"{history.written[-1] / 1e6:.3g} M block-events"
    with tempfile.TemporaryDirectory(prefix="kvbm-bench-") as folder:
        url = str(Path(folder) / "p.db")
        row = _keeping_up(history, url)
        asked = ASKED // 10 if quick else ASKED
        lives = asyncio.run(_lives(history, url, random.Random(3).sample(history.keys, asked)))
        states = asyncio.run(_states(history, url, MOMENTS // 10 if quick else MOMENTS))
    return [
        row,
        _row(f"the history of a block, in {what}", lives, HISTORY_MS),
        _row(f"the state of a moment, in {what}", states, MOMENT_MS),
    ]


def _row(what: str, took_ms: list[float], limit_ms: float) -> Row:
    return make_row(what, "ms", took_ms, theirs=[limit_ms] * len(took_ms), against="the aim", aim=1)


def _history(block_events: int, slots: int, prompts: int) -> History:
    log, state, chance = MemoryLog(), State(), random.Random(1)
    written = [0]

    def sink(event: AnyEvent) -> None:
        log.store(INSTANCE, event)
        named = 0 if isinstance(event, Matched) else total(getattr(event, "slots", []))
        written.append(written[-1] + named)

    desk = Desk(state, sink, 1)
    tiers = [TierSpec(tier="g1", capacity=slots)]
    opened = plan_opening(state, namespace="bench=1", owner="bench", tiers=tiers, keep=[], requests="dropped", now_us=1)
    evolve(state, opened)
    sink(opened)
    pool = [[chance.randbytes(16).hex() for _ in range(BATCH)] for _ in range(prompts)]
    number = 0
    while written[-1] < block_events:
        name, keys = f"request-{number}", pool[chance.randrange(prompts)]
        found = sum(len(hit.slots) for hit in match(desk, name, keys))
        if found < BATCH:
            rest = allocate(desk, "g1", name, BATCH - found)
            register(desk, "g1", name, rest, keys[found:], keys[found - 1] if found else "")
        release(desk, name)
        desk.now_us += 1000
        number += 1
    return History(log, written, [chance.choice(keys) for keys in pool])


def _keeping_up(history: History, url: str) -> Row:
    """The projector's pace, with a reader in a process of its own."""
    last = len(history.written) - 1
    asyncio.run(Projector(history.log, url).run(1))  # there is something to open
    command = [sys.executable, "-c", READER, url, *history.keys[:500]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout
        reader.stdout.readline()
        paces = asyncio.run(_paces(history, url, last))
        reader.terminate()
        count, median_s, most_s = (float(word) for word in reader.stdout.read().split())
    note = (
        f"the aim; {count:,.0f} histories were read, {figure(median_s * 1e3)} ms each, at most {figure(most_s * 1e3)}"
    )
    return make_row(
        "projecting, while another process reads histories",
        "M block-events/s",
        paces,
        theirs=[PACE] * len(paces),
        against=note,
        aim=1,
        more_is_better=True,
    )


async def _paces(history: History, url: str, last: int) -> list[float]:
    """Of each part of the history, M block-events a second by the clock."""
    gc.collect()
    gc.freeze()
    projector, written = Projector(history.log, url), history.written
    marks = [(time.perf_counter(), written[1])]
    running = asyncio.ensure_future(projector.run(last))
    while not running.done():
        await asyncio.wait([running], timeout=0.02)
        marks.append((time.perf_counter(), written[max(1, projector.status.seq)]))
    running.result()
    gc.unfreeze()
    assert projector.status.seq == last
    ends = [written[-1] * part // PARTS for part in range(1, PARTS + 1)]
    at = [0, *(min(len(marks) - 1, bisect_right([done for _, done in marks], end - 1)) for end in ends)]
    parts = [(marks[begin], marks[end]) for begin, end in pairwise(at) if end > begin]
    return [(done - before) / (end_s - start_s) / 1e6 for (start_s, before), (end_s, done) in parts]


async def _lives(history: History, url: str, keys: list[str]) -> list[float]:
    took: list[float] = []
    async with open_projection(url) as projection:
        until = (await projection.position()).seq
        assert until == len(history.written) - 1
        for key in keys:
            start = time.perf_counter()
            life = await block_life(projection, key, until=until)
            took.append((time.perf_counter() - start) * 1e3)
            assert life is None or life.events
    return took


async def _states(history: History, url: str, count: int) -> list[float]:
    chance, took = random.Random(4), list[float]()
    async with open_projection(url) as projection:
        for _ in range(count):
            seq = chance.randrange(1, len(history.written))
            start = time.perf_counter()
            contents = await contents_at(projection, INSTANCE, seq)
            took.append((time.perf_counter() - start) * 1e3)
            assert contents.n == seq - 1
    return took


if __name__ == "__main__":
    for row in run("--quick" in sys.argv):
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{row['what']:62} {figure(row['value']):>6} {row['unit']:17} {ratio:>6} {row['against']}")
