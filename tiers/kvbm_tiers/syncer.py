"""Group commit: jobs that ended while the disk was syncing share the next sync.

A sync holds up the writes beside it. So they get as much time without one as it took.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from queue import SimpleQueue
from threading import Thread

import structlog

from kvbm_events.schema import TierName
from kvbm_tiers.block_move import reason_of
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.job_book import Batch, JobBook
from kvbm_tiers.store import Store

_logger = structlog.get_logger(__name__)
REST_MAX_S = 0.05


class Syncer:
    """Concludes jobs whose blocks are all written, those on disk from a thread of its own."""

    def __init__(self, book: JobBook, stores: Mapping[TierName, Store]) -> None:
        self._book, self._stores = book, stores
        self._ended = SimpleQueue[Batch | None]()
        self._thread = Thread(target=self._work, name="mover-syncer", daemon=True)
        self._thread.start()

    def conclude(self, last: Batch) -> None:
        """The last batch of a job has ended: report the job, when it is synced."""
        if isinstance(self._stores[last.job.tier], DiskSlab):
            self._ended.put(last)
        else:
            self._book.conclude(last, "")

    def close(self, patience_s: float) -> None:
        """End when what was given is synced, but wait no longer than this."""
        self._ended.put(None)
        self._thread.join(patience_s)
        if self._thread.is_alive():
            _logger.warning("the disk does not end its sync, and goes on with it")

    def _work(self) -> None:
        while together := self._next():
            started = time.monotonic()
            tiers: set[TierName] = {batch.job.tier for batch in together}
            for tier in tiers:
                flaw = _flaw_of_syncing(self._stores[tier])
                for batch in together:
                    if batch.job.tier == tier:
                        self._book.conclude(batch, flaw)
            time.sleep(min(REST_MAX_S, time.monotonic() - started))

    def _next(self) -> list[Batch]:
        """All that have ended by now, at least one; none at the end."""
        found = list[Batch]()
        while not found or not self._ended.empty():
            if (batch := self._ended.get()) is None:
                self._ended.put(None)  # for the next call, when these are concluded
                break
            found.append(batch)
        return found


def _flaw_of_syncing(store: Store) -> str:
    """Sync; why nothing that was written can be relied on, or nothing."""
    try:
        store.sync()
    except OSError as error:
        return reason_of(error)
    return ""
