"""A log in memory: what embeds, tests and simulates. Same contract as JetStream's, gone with the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from kvbm_events.codec import decode, encode
from kvbm_events.log import Entry, LogInfo, Position, Snapshot
from kvbm_events.schema import AnyEvent, Opened
from kvbm_events.schema.errors import Fenced, LogError, LogFull, LogGap, LogUnavailable
from kvbm_events.subjects import check_instance, instance_of, message_id, subject_of

READ_BATCH = 256


class MemoryLog:
    """Entries in a list. `bytes_max` limits it as JetStream's `max_bytes` with `discard: new` does; 0 is no limit."""

    def __init__(self, *, bytes_max: int = 0) -> None:
        self.bytes_max = bytes_max
        self._entries: list[Entry] = []
        self._first_seq = 1
        self._trimmed: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._size_bytes = 0
        self._snapshots: dict[tuple[str, int], Snapshot] = {}
        self._grown = asyncio.Event()
        self._closed = False

    async def open_writer(
        self, instance: str, opened: Opened, after: int, on_acked: Callable[[int], None] = lambda _n: None
    ) -> MemoryWriter:
        """See `Log.open_writer`."""
        last = self._last.get(check_instance(instance), 0)
        if last != after:
            raise Fenced(
                f"{instance!r} was claimed by another owner",
                why=f"its log goes on to {last}, this owner knows it up to {after}",
                hint="stop the other owner, or read the log again and open the next epoch",
            )
        writer = MemoryWriter(self, instance, opened.epoch, on_acked)
        await writer.append([opened])
        return writer

    def store(self, instance: str, event: AnyEvent) -> int:
        """Append one event whatever its epoch is; its sequence."""
        if self._closed:
            raise LogUnavailable("the log in memory is closed", hint="open a new one")
        data = encode(event)
        if self.bytes_max and self._size_bytes + len(data) > self.bytes_max:
            raise LogFull(
                f"the log holds {self._size_bytes} of {self.bytes_max} bytes",
                why=f"{type(event).__name__} needs {len(data)} more",
                hint="trim up to a snapshot, or raise its limit",
            )
        seq = self._first_seq + len(self._entries)
        self._entries.append(Entry(seq, subject_of(instance, event), data))
        self._size_bytes += len(data)
        self._last[instance] = seq
        self._grown.set()
        return seq

    async def read(
        self, instance: str | None = None, *, after: int = 0, until: int | None = None
    ) -> AsyncIterator[list[Entry]]:
        """See `Log.read`."""
        self._check_readable(instance, after)
        seq = after
        while until is None or seq < until:
            start = max(0, seq + 1 - self._first_seq)
            batch = self._entries[start : start + READ_BATCH]
            if not batch:
                if until is not None or self._closed:
                    return
                self._grown.clear()
                await self._grown.wait()
                continue
            seq = batch[-1].seq
            wanted = [
                entry
                for entry in batch
                if (until is None or entry.seq <= until)
                and (instance is None or instance_of(entry.subject) == instance)
                and entry.seq > self._trimmed.get(instance_of(entry.subject), 0)
            ]
            if wanted:
                yield wanted

    def _check_readable(self, instance: str | None, after: int) -> None:
        last = self._first_seq + len(self._entries) - 1
        trimmed = max(self._trimmed.values(), default=0) if instance is None else self._trimmed.get(instance, 0)
        if after < trimmed:
            raise LogGap(
                f"entries after {after} are gone",
                why=f"the log was trimmed up to {trimmed}",
                hint="start from the nearest snapshot",
            )
        if after > last:
            raise LogGap(
                f"the log ends at {last}, before {after}",
                why="it is another log, or it lost its end",
                hint="rebuild what was read from it",
            )

    async def last_seq(self, instance: str | None = None) -> int:
        """See `Log.last_seq`."""
        if instance is None:
            return self._first_seq + len(self._entries) - 1
        return self._last.get(instance, 0)

    async def position(self, seq: int) -> Position | None:
        """See `Log.position`."""
        index = seq - self._first_seq
        if not 0 <= index < len(self._entries):
            return None
        entry = self._entries[index]
        instance = instance_of(entry.subject)
        if seq <= self._trimmed.get(instance, 0):
            return None
        event = decode(entry.data)
        return Position(seq, message_id(instance, event.epoch, event.n))

    async def info(self) -> LogInfo:
        """See `Log.info`."""
        return LogInfo(
            first_seq=self._entries[0].seq if self._entries else 0,
            last_seq=await self.last_seq(),
            size_bytes=self._size_bytes,
            bytes_max=self.bytes_max,
            durable=False,
            warning="a log in memory ends with its process",
        )

    async def trim(self, instance: str, seq: int) -> None:
        """See `Log.trim`."""
        covered = max((at for name, at in self._snapshots if name == instance), default=0)
        if covered < seq:
            raise LogGap(
                f"{instance!r} cannot be trimmed up to {seq}",
                why=f"its newest snapshot is at {covered}" if covered else "it has no snapshot",
                hint="write a snapshot first",
            )
        self._trimmed[instance] = max(seq, self._trimmed.get(instance, 0))
        gone = [e for e in self._entries if instance_of(e.subject) == instance and e.seq <= seq]
        self._size_bytes -= sum(len(entry.data) for entry in gone)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `Log.save_snapshot`."""
        self._snapshots[snapshot.instance, snapshot.seq] = snapshot

    async def load_snapshot(self, instance: str, until: int | None = None) -> Snapshot | None:
        """See `Log.load_snapshot`."""
        found = [
            s for (name, seq), s in self._snapshots.items() if name == instance and (until is None or seq <= until)
        ]
        return max(found, key=lambda snapshot: snapshot.seq, default=None)

    async def close(self) -> None:
        """See `Log.close`."""
        self._closed = True
        self._grown.set()


class MemoryWriter:
    """See `Writer`. What it appends is stored, and so acknowledged, at once."""

    def __init__(self, log: MemoryLog, instance: str, epoch: int, on_acked: Callable[[int], None]) -> None:
        self._log, self._instance, self._epoch, self._on_acked = log, instance, epoch, on_acked
        self._acked_n = -1
        self._last = log._last.get(instance, 0)  # noqa: SLF001 - the writer is half of the log
        self._failure: LogError | None = None

    @property
    def acked_n(self) -> int:
        """See `Writer.acked_n`."""
        return self._acked_n

    async def append(self, events: Sequence[AnyEvent]) -> None:
        """See `Writer.append`."""
        if self._failure:
            raise self._failure
        try:
            for event in events:
                if self._log._last.get(self._instance, 0) != self._last:  # noqa: SLF001 - the writer is half of the log
                    raise Fenced(
                        f"{self._instance!r} was claimed by another owner",
                        why=f"epoch {self._epoch} is over",
                        hint="stop deciding; the other owner's log goes on",
                    )
                self._last = self._log.store(self._instance, event)
                self._acked_n = event.n
        except LogError as error:
            self._failure = error
            raise
        finally:
            self._on_acked(self._acked_n)

    async def settle(self) -> None:
        """See `Writer.settle`."""
        if self._failure:
            raise self._failure

    async def close(self) -> None:
        """See `Writer.close`."""
