"""What movers that work in threads have in common: their jobs are in a book, and so are the answers to their owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kvbm_events.schema import TierName
from kvbm_tiers.job_book import JobBook
from kvbm_tiers.mover import Deletion, Job, Memory, Report
from kvbm_tiers.objects.bucket import Bucket
from kvbm_tiers.store import Store


class Booked:
    """The methods of `Mover` that a `JobBook` answers."""

    def __init__(self, book: JobBook, stores: Mapping[TierName, Store] | None = None) -> None:
        """Take a book, and the stores between which jobs move."""
        self._book, self._stores = book, dict(stores or {})

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:  # noqa: ARG002 - what it moved ended with its process
        """See `Mover.begin`."""
        return True

    def memories(self) -> list[Memory]:
        """See `Mover.memories`. Who made the stores knows of them."""
        return []

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        return self._book.poll()

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        self._book.watch(changed)

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`."""
        self._book.cancel(transfer)

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`."""
        store = self._stores.get(deletion.tier)
        if isinstance(store, Bucket):
            store.forget(deletion.keys)

    def _take_job(self, job: Job, flaw: str) -> None:
        """Take a job of these stores, or report it as failed; objects are known by the keys that it names."""
        source, target = self._stores.get(job.source), self._stores.get(job.tier)
        if isinstance(source, Bucket):
            source.assign(job.source_slots, job.keys, job.writer)
        elif job.writer:
            flaw = flaw or f"{job.source} is no object storage: nothing of {job.writer} can be read there"
        if isinstance(target, Bucket):
            target.assign(job.slots, job.keys)
        self._book.submit(job, flaw)
