"""The mover that needs nothing but the operating system: a few threads that copy, read and write blocks one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from kvbm_events.schema import TierName
from kvbm_tiers.block_move import move
from kvbm_tiers.booked import Booked
from kvbm_tiers.crew import Crew
from kvbm_tiers.job_book import Batch, JobBook, Outcome, wall_clock_us
from kvbm_tiers.memory import anonymous
from kvbm_tiers.mover import Job
from kvbm_tiers.store import Store, one_layout
from kvbm_tiers.syncer import Syncer

BATCH_BYTES = 1 << 20
"""A thread takes about so much at a time: many small blocks, or one large."""


class ThreadMover(Booked):
    """Moves between any two of its stores.

    A read or write that the operating system does not end keeps its thread, and its job's slots in doubt, until it does.
    """

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        *,
        threads: int = 8,
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
        work = [partial(self._move, anonymous(layout.slot_bytes)) for _ in range(threads)]
        self._crew = Crew(book, Syncer(book, self._stores), "mover", work)

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        missing = {job.source, job.tier} - self._stores.keys()
        self._take_job(job, f"this mover has no {' and no '.join(sorted(missing))}" if missing else "")

    def close(self) -> None:
        """See `Mover.close`. The block that a thread has begun is ended; the stores may be closed afterwards."""
        self._book.close()
        self._crew.close(self._patience_s)

    def _move(self, bounce: memoryview, batch: Batch) -> list[Outcome]:
        job, outcomes = batch.job, list[Outcome]()
        source, target = self._stores[job.source], self._stores[job.tier]
        for at in batch.blocks:
            if batch.is_given_up:
                break
            outcomes.append(move(source, job.source_slots[at], target, job.slots[at], job.checksum(at), bounce))
        return outcomes
