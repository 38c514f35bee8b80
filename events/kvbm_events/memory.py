"""A log in memory: what embeds, tests and simulates. Same contract as JetStream's, gone with the process."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from operator import attrgetter

from kvbm_events.codec import decode, encode
from kvbm_events.log import (
    SNAPSHOTS_KEPT,
    Entry,
    LogInfo,
    Position,
    Snapshot,
    check_order,
    fenced,
    lost_end,
    lost_start,
    not_covered,
)
from kvbm_events.schema import AnyEvent, Opened
from kvbm_events.schema.errors import LogError, LogFull, LogUnavailable
from kvbm_events.subjects import check_instance, instance_of, message_id, subject_of

READ_BATCH = 256
_seq = attrgetter("seq")


class MemoryLog:
    """Entries in a list. `bytes_max` limits it as JetStream's `max_bytes` with `discard: new` does; 0 is no limit."""

    def __init__(self, *, bytes_max: int = 0, snapshots_kept: int = SNAPSHOTS_KEPT) -> None:
        self.bytes_max, self.snapshots_kept = bytes_max, snapshots_kept
        self._entries: list[Entry] = []
        self._last_seq = 0
        self._last: dict[str, int] = {}
        self._trimmed: dict[str, int] = {}
        self._size_bytes = 0
        self._snapshots: dict[tuple[str, int], Snapshot] = {}
        self._grown = asyncio.Event()
        self._closed = False

    async def open_writer(
        self, instance: str, opened: Opened, after: int, on_acked: Callable[[int], None] = lambda _n: None
    ) -> MemoryWriter:
        """See `Log.open_writer`."""
        self._check_open()
        last = self.last_of(check_instance(instance))
        if last > after:
            raise fenced(instance, f"its log goes on to {last}, and this owner knows it up to {after}")
        if last < after:
            raise lost_end(last, after)
        writer = MemoryWriter(self, instance, opened.epoch, opened.n, on_acked)
        await writer.append([opened])
        return writer

    def store(self, instance: str, event: AnyEvent) -> int:
        """Append one event whatever its epoch is; its sequence."""
        self._check_open()
        data = encode(event)
        if self.bytes_max and self._size_bytes + len(data) > self.bytes_max:
            raise LogFull(
                f"the log holds {self._size_bytes} of {self.bytes_max} bytes",
                why=f"{type(event).__name__} needs {len(data)} more",
                hint="trim up to a snapshot, or raise its limit",
            )
        self._last_seq += 1
        self._entries.append(Entry(self._last_seq, subject_of(instance, event), data))
        self._size_bytes += len(data)
        self._last[instance] = self._last_seq
        self._grown.set()
        return self._last_seq

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed", hint="open a new one")

    def last_of(self, instance: str) -> int:
        """The sequence of the instance's last entry; 0 for none."""
        return self._last.get(instance, 0)

    async def read(
        self, instance: str | None = None, *, after: int = 0, until: int | None = None
    ) -> AsyncIterator[list[Entry]]:
        """See `Log.read`."""
        if after > self._last_seq:
            raise lost_end(self._last_seq, after)
        if instance is not None and after < self._trimmed.get(instance, 0):
            raise lost_start(after, self._trimmed[instance])
        last = after
        while until is None or last < until:
            batch = self._batch(last, until)
            if batch:
                wanted = _of_instance(batch, instance) if instance is not None else _without_hole(batch, last)
                if wanted:
                    yield wanted
                last = batch[-1].seq
            elif until is not None or self._closed:
                return
            else:
                self._grown.clear()
                await self._grown.wait()

    def _batch(self, after: int, until: int | None) -> list[Entry]:
        start = bisect_right(self._entries, after, key=_seq)
        batch = self._entries[start : start + READ_BATCH]
        return batch if until is None else batch[: bisect_right(batch, until, key=_seq)]

    async def last_seq(self, instance: str | None = None) -> int:
        """See `Log.last_seq`."""
        return self._last_seq if instance is None else self.last_of(instance)

    async def instances(self) -> list[str]:
        """See `Log.instances`."""
        return sorted(self._last)

    async def position(self, seq: int) -> Position | None:
        """See `Log.position`."""
        index = bisect_right(self._entries, seq, key=_seq) - 1
        if index < 0 or self._entries[index].seq != seq:
            return None
        entry = self._entries[index]
        event = decode(entry.data)
        return Position(seq, message_id(instance_of(entry.subject), event.epoch, event.n))

    async def next_entry(self, after: int, instance: str | None = None) -> Entry | None:
        """See `Log.next_entry`."""
        following = self._entries[bisect_right(self._entries, after, key=_seq) :]
        wanted = following if instance is None else _of_instance(following, instance)
        return wanted[0] if wanted else None

    async def info(self) -> LogInfo:
        """See `Log.info`."""
        return LogInfo(
            first_seq=self._entries[0].seq if self._entries else 0,
            last_seq=self._last_seq,
            size_bytes=self._size_bytes,
            bytes_max=self.bytes_max,
            durable=False,
            warning="a log in memory ends with its process",
        )

    async def trim(self, instance: str, seq: int) -> None:
        """See `Log.trim`."""
        newest = max((at for name, at in self._snapshots if name == instance), default=0)
        if newest < seq:
            raise not_covered(instance, seq, newest)
        end = min(seq, self.last_of(instance) - 1)
        self._trimmed[instance] = max(end, self._trimmed.get(instance, 0))
        gone = {entry.seq for entry in _of_instance(self._entries, instance) if entry.seq <= end}
        self._size_bytes -= sum(len(entry.data) for entry in self._entries if entry.seq in gone)
        self._entries = [entry for entry in self._entries if entry.seq not in gone]

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `Log.save_snapshot`."""
        self._snapshots[snapshot.instance, snapshot.seq] = snapshot
        own = sorted(key for key in self._snapshots if key[0] == snapshot.instance)
        for key in own[: -self.snapshots_kept]:
            del self._snapshots[key]

    async def load_snapshot(self, instance: str, until: int | None = None) -> Snapshot | None:
        """See `Log.load_snapshot`."""
        found = [
            s for (name, seq), s in self._snapshots.items() if name == instance and (until is None or seq <= until)
        ]
        return max(found, key=_seq, default=None)

    async def close(self) -> None:
        """See `Log.close`."""
        self._closed = True
        self._grown.set()


def _of_instance(entries: list[Entry], instance: str) -> list[Entry]:
    return [entry for entry in entries if instance_of(entry.subject) == instance]


def _without_hole(batch: list[Entry], after: int) -> list[Entry]:
    """The batch up to its first hole. Raises LogGap where it begins with one."""
    if batch[0].seq != after + 1:
        raise lost_start(after, batch[0].seq - 1)
    whole = next((i for i, entry in enumerate(batch) if entry.seq != after + 1 + i), len(batch))
    del batch[whole:]
    return batch


class MemoryWriter:
    """See `Writer`. What it appends is stored, and so acknowledged, at once."""

    def __init__(
        self, log: MemoryLog, instance: str, epoch: int, first_n: int, on_acked: Callable[[int], None]
    ) -> None:
        self._log, self._instance, self._epoch, self._on_acked = log, instance, epoch, on_acked
        self._acked_n = first_n - 1
        self._last = log.last_of(instance)
        self._failure: LogError | None = None

    @property
    def acked_n(self) -> int:
        """See `Writer.acked_n`."""
        return self._acked_n

    async def append(self, events: Sequence[AnyEvent]) -> None:
        """See `Writer.append`."""
        await self.settle()
        check_order(events, self._epoch, self._acked_n + 1)
        before = self._acked_n
        try:
            for event in events:
                if self._log.last_of(self._instance) != self._last:
                    raise fenced(self._instance, f"epoch {self._epoch} is over")
                self._last = self._log.store(self._instance, event)
                self._acked_n = event.n
        except LogError as error:
            self._failure = error
            raise
        finally:
            if self._acked_n > before:
                self._on_acked(self._acked_n)

    async def settle(self) -> None:
        """See `Writer.settle`."""
        if self._failure:
            raise self._failure

    async def close(self) -> None:
        """See `Writer.close`."""
        self._failure = self._failure or LogUnavailable("the writer is closed", hint="open the next epoch")
