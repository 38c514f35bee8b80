"""A peer for `bench_peers`: `object_writer.py URL INSTANCE BATCHES` puts blocks into object storage, by its log alone.

It writes so many batches of 32 blocks and says `ready`. With the first line on its standard input it goes on, as fast as it
can, and answers that and every further line with the events that it has written by then. Its g4 has room for `KEPT` batches:
from then on each batch evicts the oldest one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import count

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema import AnyEvent, Evicted, OffloadCompleted, OffloadStarted, Opened, TierSpec

NAMESPACE = "bench"
BLOCKS = 32
"""A batch, as an owner makes them."""
KEPT = 3_125
APPENDED = 64
"""Batches that are handed to the log at once."""


def keys_of(batch: int) -> list[str]:
    """The keys of a batch's blocks."""
    return [f"{batch:016x}{at:016x}" for at in range(BLOCKS)]


def events(first: int = 0) -> Iterator[list[AnyEvent]]:
    """Batch by batch, from the first on: what an owner writes of it."""
    numbers = count(1)
    for batch in count(first):
        slots, keys = [(batch % KEPT * BLOCKS, BLOCKS)], "".join(keys_of(batch))
        told: list[AnyEvent] = []
        if batch >= KEPT:
            old = "".join(keys_of(batch - KEPT))
            n = next(numbers)
            told.append(
                Evicted(epoch=1, n=n, at_us=n, tier="g4", slots=slots, keys=old, reason="capacity", actor="lru")
            )
        n = next(numbers)
        told.append(
            OffloadStarted(
                epoch=1,
                n=n,
                at_us=n,
                transfer=f"1.{n}",
                source="g2",
                tier="g4",
                source_slots=slots,
                slots=slots,
                keys=keys,
                deadline_us=1 << 62,
            )
        )
        sums = "".join(f"{batch + 1:08x}{at:08x}" for at in range(BLOCKS))
        ended = next(numbers)
        told.append(
            OffloadCompleted(
                epoch=1, n=ended, at_us=ended, transfer=f"1.{n}", tier="g4", slots=slots, length_bytes=1, checksums=sums
            )
        )
        yield told


async def _main(url: str, instance: str, batches: int) -> None:
    tiers = [TierSpec(tier="g2", capacity=BLOCKS), TierSpec(tier="g4", capacity=KEPT * BLOCKS)]
    opened = Opened(epoch=1, n=0, at_us=0, namespace=NAMESPACE, owner="bench", tiers=tiers)
    log = await JetStreamLog.connect(url)
    writer = await log.open_writer(instance, opened, 0)
    told = events()
    await writer.append([event for _ in range(batches) for event in next(told)])
    await writer.settle()
    print("ready", flush=True)
    asked = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    is_going = False
    while True:
        if asked.done() or not is_going:
            if not await asked:
                break
            is_going = True
            print(writer.acked_n, flush=True)
            asked = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        await writer.append([event for _ in range(APPENDED) for event in next(told)])
    await writer.close()
    await log.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
