"""Following the log: while one transaction is on its way to the database, the entries for the next are folded.

So the writer's pace is the group commit: one event a transaction where the log is quiet, hundreds where it is not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import structlog

from kvbm_events.log import Entry, Log
from kvbm_events.schema.errors import KvbmError, LogGap
from kvbm_nats.projection.backend import Store
from kvbm_nats.projection.changes import Changes
from kvbm_nats.projection.errors import RebuildNeeded
from kvbm_nats.projection.fold import Fold
from kvbm_nats.projection.meter import Meter
from kvbm_nats.projection.start import WRITE_BYTES, prove, reading

WRITE_EVENTS = 1024
"""Entries of one transaction, at most."""
FOLD_EVENTS = 32
"""Entries folded before other tasks have their turn."""
HEAD_EVERY_S = 1.0

logger = structlog.get_logger(__name__)


class Follower:
    """Brings one generation from its checkpoint to the end of the log and on. For one `run`.

    :ivar last_seq: the log's last sequence when it was last asked
    """

    def __init__(self, log: Log, store: Store, fold: Fold, meter: Meter, known: set[str]) -> None:
        self.last_seq = 0
        self._log, self._store, self._fold, self._meter, self._known = log, store, fold, meter, known
        self._backlog: deque[Entry] = deque()
        self._gathered = Changes()
        self._reading: asyncio.Task[list[Entry] | None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._failure: KvbmError | None = None
        self._head_at = 0.0

    async def run(self, until: int | None) -> None:
        """Follow up to and with `until`, or without end.

        Raises:
            RebuildNeeded: the log is not the one that the store was made from, or does not go on from the checkpoint.
            KvbmError: an entry cannot be applied (all before it was written), or the log or the database failed.
        """
        await self._ask_head()
        publish_at = self.last_seq if until is None else min(until, self.last_seq)
        await self._publish(publish_at)
        async with reading(self._log.read(after=self._store.position.seq, until=until)) as batches:
            try:
                await self._loop(batches, publish_at)
            finally:
                await self._stop()
        if self._failure:
            raise self._failure
        await self._publish(0)

    async def _loop(self, batches: AsyncIterator[list[Entry]], publish_at: int) -> None:
        self._reading = asyncio.create_task(_next(batches))
        while self._reading or self._writing or self._backlog or self._gathered.journal:
            if self._writing and self._writing.done():
                self._writing.result()
                self._writing = None
                await self._publish(publish_at)
            if self._reading and self._reading.done():
                batch, self._reading = self._result_of(self._reading), None
                if batch and not self._failure:
                    self._backlog.extend(batch)
                    self._reading = asyncio.create_task(_next(batches))
            self._fold_some()
            if not self._writing and self._gathered.journal:
                await self._start_writing()
            await self._pause()

    async def _pause(self) -> None:
        """Let others run; and wait, where there is nothing to fold until something was read or written."""
        tasks = [task for task in (self._reading, self._writing) if task]
        if self._backlog and not self._is_full():
            await asyncio.sleep(0)
        elif tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    def _fold_some(self) -> None:
        for _ in range(min(FOLD_EVENTS, len(self._backlog))):
            if self._is_full():
                return
            try:
                self._fold.take(self._backlog.popleft(), self._gathered)
            except KvbmError as failure:
                self._failure = failure
                self._backlog.clear()
                if self._gathered.is_torn:
                    self._gathered = Changes()
                return

    def _is_full(self) -> bool:
        return len(self._gathered.journal) >= WRITE_EVENTS or self._gathered.size_bytes >= WRITE_BYTES

    async def _start_writing(self) -> None:
        changes, self._gathered = self._gathered, Changes()
        if changes.must_prove:
            await prove(self._log, self._store.position)
            await self._look_for_beginnings(changes)
        self._fold.settle(changes)
        self._writing = asyncio.create_task(self._write(changes))

    async def _write(self, changes: Changes) -> None:
        await self._store.write(changes)
        self._meter.add(len(changes.journal), changes.block_events)
        if asyncio.get_running_loop().time() - self._head_at > HEAD_EVERY_S:
            await self._ask_head()

    async def _look_for_beginnings(self, changes: Changes) -> None:
        """An epoch that never began may have begun in what was trimmed: then there is a snapshot."""
        for name in changes.unopened - self._known:
            snapshot = await self._log.load_snapshot(name)
            if snapshot and snapshot.epoch > self._fold.epoch_of(name):
                raise RebuildNeeded(
                    f"the beginning of {name} was trimmed from the log, and it has a snapshot", name=name
                )

    async def _publish(self, at: int) -> None:
        if self._store.position.seq >= at and not self._store.is_published:
            await self._store.publish()
            logger.info("projection: the new one is complete and takes over", seq=self._store.position.seq)

    async def _ask_head(self) -> None:
        self.last_seq = await self._log.last_seq()
        self._head_at = asyncio.get_running_loop().time()

    @staticmethod
    def _result_of(task: asyncio.Task[list[Entry] | None]) -> list[Entry] | None:
        try:
            return task.result()
        except LogGap as gap:
            raise RebuildNeeded(f"the log does not go on from here ({gap.what})") from gap

    async def _stop(self) -> None:
        """End reading at once, and writing when its transaction is over."""
        tasks: list[asyncio.Task[Any]] = [task for task in (self._reading, self._writing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _next(batches: AsyncIterator[list[Entry]]) -> list[Entry] | None:
    """The next batch; None at the end."""
    return await anext(batches, None)
