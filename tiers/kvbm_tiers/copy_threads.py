"""A few threads that take batches from a book, and copy, read and write their blocks one by one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Thread

import structlog

from kvbm_events.schema import TierName
from kvbm_tiers.block_move import move
from kvbm_tiers.job_book import Batch, JobBook, Outcome
from kvbm_tiers.memory import anonymous
from kvbm_tiers.store import Store
from kvbm_tiers.syncer import Syncer

_logger = structlog.get_logger(__name__)
THREADS = 8


class CopyThreads:
    """They work until the book is closed.

    A read or write that the operating system does not end keeps its thread, and its job's slots in doubt, until it does.
    """

    def __init__(
        self, book: JobBook, stores: Mapping[TierName, Store], syncer: Syncer, *, slot_bytes: int, count: int = THREADS
    ) -> None:
        self._book, self._stores, self._syncer, self._slot_bytes = book, stores, syncer, slot_bytes
        self._threads = [Thread(target=self._work, name=f"mover-{at}", daemon=True) for at in range(count)]
        for thread in self._threads:
            thread.start()

    def join(self, patience_s: float) -> None:
        """Wait until the blocks that were begun are ended, but no longer than this. The book is closed already."""
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if stuck := [thread.name for thread in self._threads if thread.is_alive()]:
            _logger.warning("threads are stuck in a system call, and go on with what they have begun", threads=stuck)

    def _work(self) -> None:
        bounce = anonymous(self._slot_bytes)
        while batch := self._book.take():
            if self._book.finish(batch, self._move(batch, bounce)):
                self._syncer.conclude(batch)

    def _move(self, batch: Batch, bounce: memoryview) -> list[Outcome]:
        job, outcomes = batch.job, list[Outcome]()
        source, target = self._stores[job.source], self._stores[job.tier]
        for at in batch.blocks:
            if batch.is_given_up:
                break
            outcomes.append(move(source, job.source_slots[at], target, job.slots[at], job.checksum(at), bounce))
        return outcomes
