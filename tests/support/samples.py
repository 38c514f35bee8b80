"""Events for tests that need some, and helpers to write and read them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from kvbm_events.log import Entry, Log, Snapshot, Writer
from kvbm_events.schema import AnyEvent, Opened, Registered, Released, TierSpec
from kvbm_events.sequencer import Sequencer

TIMEOUT_S = 30.0
SMALL_LOG_BYTES = 64 << 10


def opened(epoch: int, owner: str = "test") -> Opened:
    """The first event of an epoch."""
    tiers = [TierSpec(tier="g1", capacity=1024)]
    return Opened(epoch=epoch, n=0, at_us=epoch, namespace="model", owner=owner, tiers=tiers)


def released(epoch: int, n: int) -> Released:
    """A small event."""
    return Released(epoch=epoch, n=n, at_us=n, request=f"r{n}")


def registered(epoch: int, n: int, blocks: int) -> Registered:
    """An event of 32 bytes a block."""
    keys = "".join(f"{epoch:08x}{n:016x}{i:08x}" for i in range(blocks))
    return Registered(epoch=epoch, n=n, at_us=n, tier="g1", request=f"r{n}", slots=[(0, blocks)], keys=keys)


def small_events(epoch: int, first_n: int, count: int) -> list[AnyEvent]:
    """Small events that go on from `first_n`."""
    return [released(epoch, n) for n in range(first_n, first_n + count)]


def snapshot(instance: str, seq: int, state: bytes = b"state", epoch: int = 1) -> Snapshot:
    """A snapshot at a sequence."""
    return Snapshot(instance=instance, epoch=epoch, n=seq, seq=seq, at_us=seq, digest=f"digest-{seq}", state=state)


async def open_and_write(log: Log, instance: str, epoch: int, count: int) -> Writer:
    """Claim the instance after whatever it has, and write so many small events."""
    writer = await log.open_writer(instance, opened(epoch), await log.last_seq(instance))
    await append_and_settle(writer, small_events(epoch, 1, count))
    return writer


async def append_and_settle(writer: Writer, events: Sequence[AnyEvent]) -> None:
    """Write and wait until it is stored; one of the two says what failed."""
    await writer.append(events)
    await writer.settle()


async def read_all(log: Log, instance: str | None = None, *, after: int = 0, until: int | None = None) -> list[Entry]:
    """Everything up to `until`, or to the end as it is now."""
    end = await log.last_seq() if until is None else until
    async with asyncio.timeout(TIMEOUT_S):
        return [entry async for batch in log.read(instance, after=after, until=end) for entry in batch]


async def follow(log: Log, instance: str | None, after: int, count: int) -> list[Entry]:
    """The next `count` entries, whenever they come."""
    found: list[Entry] = []
    reader = log.read(instance, after=after)
    async with asyncio.timeout(TIMEOUT_S):
        async for batch in reader:
            found += batch
            if len(found) >= count:
                break
    await reader.aclose()
    return found


def in_order(entries: Iterable[Entry]) -> list[AnyEvent]:
    """The events that a fold would apply. Raises LogGap where one is missing."""
    sequencer = Sequencer()
    events = [ordered.event for entry in entries for ordered in sequencer.feed(entry)]
    sequencer.check_whole()
    return events


class Acks:
    """An `on_acked` that can be waited for."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._changed = asyncio.Event()

    def __call__(self, n: int) -> None:
        self.seen.append(n)
        self._changed.set()

    async def reach(self, n: int) -> None:
        """Wait until every event up to `n` is acknowledged."""
        async with asyncio.timeout(TIMEOUT_S):
            while not self.seen or self.seen[-1] < n:
                self._changed.clear()
                await self._changed.wait()
