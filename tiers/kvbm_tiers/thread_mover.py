"""The mover that needs nothing but the operating system: a few threads that copy, read and write blocks one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kvbm_events.schema import TierName
from kvbm_tiers.booked import Booked
from kvbm_tiers.copy_threads import THREADS, CopyThreads
from kvbm_tiers.job_book import JobBook, wall_clock_us
from kvbm_tiers.mover import Job
from kvbm_tiers.store import Store, one_layout
from kvbm_tiers.syncer import Syncer

BATCH_BYTES = 1 << 20
"""A thread takes about so much at a time: many small blocks, or one large."""


class ThreadMover(Booked):
    """Moves between any two of its stores."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        *,
        threads: int = THREADS,
        batch_bytes: int = BATCH_BYTES,
        blocks_max: int = 1 << 16,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Start the threads.

        Args:
            stores: by tier, all of one layout
            threads: how many blocks move at once
            batch_bytes: what a thread takes at a time, one block at least
            blocks_max: how many may be under way; a job beyond that is reported as failed
            patience_s: how long `close` waits for what runs
            now_us: the clock that deadlines are told by

        Raises:
            NamespaceMismatch: the stores are not of one layout.
        """
        layout = one_layout(stores.values())
        self._patience_s = patience_s
        count = min(32, max(1, batch_bytes // layout.slot_bytes))
        book = JobBook(length_bytes=layout.block_bytes, batch_blocks=count, blocks_max=blocks_max, now_us=now_us)
        super().__init__(book, stores)
        self._syncer = Syncer(self._book, self._stores)
        self._threads = CopyThreads(self._book, self._stores, self._syncer, slot_bytes=layout.slot_bytes, count=threads)

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        missing = {job.source, job.tier} - self._stores.keys()
        self._take_job(job, f"this mover has no {' and no '.join(sorted(missing))}" if missing else "")

    def close(self) -> None:
        """See `Mover.close`. The block that a thread has begun is ended; the stores may be closed afterwards."""
        self._book.close()
        self._threads.join(self._patience_s)
        self._syncer.close(self._patience_s)
