"""Replay from JetStream: blocks a second folded, beside reading the same entries and doing nothing with them.

The history is what owners write when they are busy: batches of 512 blocks allocated (with evictions), registered,
matched and released. Blocks are counted where an event names slots or keys, as everywhere in this project.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from random import Random

from harness import ROUNDS, Row, make_row
from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema import TierSpec, total
from kvbm_events.sequencer import Sequencer
from kvbm_nats.manager import BlockManager
from kvbm_nats.nats_server import NatsServer
from kvbm_statemachine import State, evolve

INSTANCE = "bench"
SLOTS = 100_000
BATCH = 512


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Write a history once, then read and fold it in turns."""
    requests = 300 if quick else 1500
    with tempfile.TemporaryDirectory(prefix="kvbm-bench-") as folder, NatsServer(Path(folder) / "nats") as server:
        _write(server.url, requests)
        return asyncio.run(_measure(server.url, 3 if quick else ROUNDS))


def _write(url: str, requests: int) -> None:
    chance = Random(1)
    with BlockManager.open(url, INSTANCE, namespace="bench=1", tiers=[TierSpec(tier="g1", capacity=SLOTS)]) as owner:
        for number in range(requests):
            name, keys = f"r{number}", [chance.randbytes(16).hex() for _ in range(BATCH)]
            owner.match(name, keys[:1])
            owner.register(name, owner.allocate(name, BATCH), keys)
            owner.release(name)
            owner.match(name, keys)
            owner.release(name)
        owner.flush(timeout_s=120)


async def _measure(url: str, rounds: int) -> list[Row]:
    log = await JetStreamLog.connect(url)
    try:
        blocks, folded, reading, per_event = 0, list[float](), list[float](), list[float]()
        for _ in range(rounds):
            started = time.perf_counter()
            state, blocks, events = await _fold(log)
            took = time.perf_counter() - started
            assert state.n == events - 1
            folded.append(blocks / took / 1e6)
            per_event.append(took / events * 1e6)
            started = time.perf_counter()
            assert await _read(log) == events
            reading.append(blocks / (time.perf_counter() - started) / 1e6)
    finally:
        await log.close()
    return [
        make_row(
            "replay: read, decode, order and fold",
            "M blocks/s",
            folded,
            theirs=reading,
            against="reading the same entries only",
            more_is_better=True,
        ),
        make_row("replay: one event", "µs", per_event),
    ]


async def _fold(log: JetStreamLog) -> tuple[State, int, int]:
    """What recovery does, without a snapshot."""
    state, sequencer, blocks, events = State(), Sequencer(), 0, 0
    async for batch in log.read(INSTANCE, until=await log.last_seq(INSTANCE)):
        for entry in batch:
            for ordered in sequencer.feed(entry):
                evolve(state, ordered.event)
                blocks += total(getattr(ordered.event, "slots", []))
                events += 1
    return state, blocks, events


async def _read(log: JetStreamLog) -> int:
    events = 0
    async for batch in log.read(INSTANCE, until=await log.last_seq(INSTANCE)):
        events += len(batch)
    return events


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
