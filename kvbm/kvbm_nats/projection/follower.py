"""Following the log: read ahead, fold, write; a transaction takes what came while the one before it was written.

So the database's pace is the group commit: one event a transaction where the log is quiet, hundreds where it is not. Folding
and writing take turns and never overlap: two threads of Python slow each other down more than a second core helps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import structlog

from kvbm_events.log import Entry, Log
from kvbm_events.schema.errors import KvbmError, LogGap
from kvbm_nats.projection.backend import Store, to_its_end
from kvbm_nats.projection.changes import Changes
from kvbm_nats.projection.errors import RebuildNeeded
from kvbm_nats.projection.fold import Fold
from kvbm_nats.projection.meter import Meter
from kvbm_nats.projection.start import WRITE_BYTES, prove, reading

WRITE_EVENTS = 1024
"""Entries of one transaction, at most."""
ASK_EVERY_S = 1.0

_logger = structlog.get_logger(__name__)


class Follower:
    """Brings one generation from its checkpoint to the end of the log and on. For one `run`.

    :ivar last_seq: the log's last sequence when it was last asked
    """

    def __init__(self, log: Log, store: Store, fold: Fold, meter: Meter) -> None:
        self.last_seq = 0
        self._log, self._store, self._fold, self._meter = log, store, fold, meter
        self._backlog: deque[Entry] = deque()
        self._failure: KvbmError | None = None
        self._asked_at = 0.0
        self._publish_at = 0

    async def run(self, until: int | None) -> None:
        """Follow up to and with `until`, or without end.

        Raises:
            RebuildNeeded: the log is not the one that the store was made from, or does not go on from the checkpoint.
            KvbmError: an entry cannot be applied (all before it was written), or the log or the database failed.
        """
        await self._ask_head()
        self._publish_at = self.last_seq if until is None else min(until, self.last_seq)
        await self._publish()
        async with reading(self._log.read(after=self._store.position.seq, until=until)) as batches:
            await self._loop(batches)
        if self._failure:
            raise self._failure
        self._publish_at = 0
        await self._publish()

    async def _loop(self, batches: AsyncIterator[list[Entry]]) -> None:
        read: asyncio.Task[list[Entry] | None] | None = asyncio.create_task(_next(batches))
        write: asyncio.Task[None] | None = None
        try:
            while read or write or self._backlog:
                if read and read.done():
                    batch = _result_of(read)
                    self._backlog.extend(batch or ())
                    read = asyncio.create_task(_next(batches)) if batch else None
                if write and write.done():
                    write.result()
                    write = None
                    if self._failure:
                        return
                if self._backlog and not write:
                    write = asyncio.create_task(self._write(self._next_entries()))
                is_full = len(self._backlog) >= WRITE_EVENTS
                if tasks := [task for task in (write, None if is_full and write else read) if task]:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _stop(read, write)

    def _next_entries(self) -> list[Entry]:
        """The entries of the next transaction."""
        entries: list[Entry] = []
        size_bytes = 0
        while self._backlog and len(entries) < WRITE_EVENTS and size_bytes < WRITE_BYTES:
            entry = self._backlog.popleft()
            entries.append(entry)
            size_bytes += len(entry.data)
        return entries

    async def _write(self, entries: list[Entry]) -> None:
        """Fold these entries, on a thread, and write what that gives."""
        changes = await to_its_end(asyncio.to_thread(self._gather, entries))
        if changes.must_prove:
            await prove(self._log, self._store.position)
        if changes.journal:
            await self._store.write(changes)
            await self._publish()  # at once: who sees the checkpoint at the end of the log may read what it stands for
            self._meter.add(len(changes.journal), changes.block_events)
        if asyncio.get_running_loop().time() - self._asked_at > ASK_EVERY_S:
            await self._ask_head()

    def _gather(self, entries: list[Entry]) -> Changes:
        """The rows of these entries, up to one that cannot be applied."""
        changes = Changes()
        try:
            for entry in entries:
                self._fold.take(entry, changes)
        except KvbmError as failure:
            self._failure = failure
            if changes.is_torn:
                return Changes()
        self._fold.settle(changes)
        return changes

    async def _publish(self) -> None:
        if self._store.position.seq >= self._publish_at and not self._store.is_published:
            await self._store.publish()
            _logger.info("projection: the new one is complete and takes over", seq=self._store.position.seq)

    async def _ask_head(self) -> None:
        self.last_seq = await self._log.last_seq()
        self._asked_at = asyncio.get_running_loop().time()


async def _next(batches: AsyncIterator[list[Entry]]) -> list[Entry] | None:
    """The next batch; None at the end."""
    return await anext(batches, None)


def _result_of(read: asyncio.Task[list[Entry] | None]) -> list[Entry] | None:
    try:
        return read.result()
    except LogGap as gap:
        raise RebuildNeeded(f"the log does not go on from here ({gap.what})") from gap


async def _stop(*tasks: asyncio.Task[Any] | None) -> None:
    """End reading at once, and writing when its transaction is over."""
    started = [task for task in tasks if task]
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)
