"""Threads that take batches from a book until it is closed, each by a function of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Thread

import structlog

from kvbm_tiers.job_book import Batch, JobBook, Outcome
from kvbm_tiers.syncer import Syncer

_logger = structlog.get_logger(__name__)
Work = Callable[[Batch], list[Outcome]]
"""Move one batch; what became of its blocks, in order, up to where it was given up. It must not raise."""


class Crew:
    """One thread for each function; they end when the book is closed and what they have begun is over."""

    def __init__(self, book: JobBook, syncer: Syncer, name: str, work: Iterable[Work]) -> None:
        self._book, self._syncer = book, syncer
        self._threads = [
            Thread(target=self._work, args=(each,), name=f"{name}-{at}", daemon=True) for at, each in enumerate(work)
        ]
        for thread in self._threads:
            thread.start()

    def join(self, patience_s: float) -> bool:
        """Wait until what was begun is over, but no longer than this; whether it is. The book is closed already."""
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if stuck := [thread.name for thread in self._threads if thread.is_alive()]:
            _logger.warning("threads are stuck in a system call, and go on with what they have begun", threads=stuck)
        return not stuck

    def _work(self, move: Work) -> None:
        while batch := self._book.take():
            if self._book.finish(batch, move(batch)):
                self._syncer.conclude(batch)
