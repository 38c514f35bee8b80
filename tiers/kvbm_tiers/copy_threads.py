"""A few threads that take batches from a book, and copy, read and write their blocks one by one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from kvbm_events.schema import TierName
from kvbm_tiers.block_move import move
from kvbm_tiers.crew import Crew
from kvbm_tiers.job_book import Batch, JobBook, Outcome
from kvbm_tiers.memory import anonymous
from kvbm_tiers.store import Store
from kvbm_tiers.syncer import Syncer

THREADS = 8


class CopyThreads(Crew):
    """They work until the book is closed.

    A read or write that the operating system does not end keeps its thread, and its job's slots in doubt, until it does.
    """

    def __init__(
        self, book: JobBook, stores: Mapping[TierName, Store], syncer: Syncer, *, slot_bytes: int, count: int = THREADS
    ) -> None:
        bounces = (anonymous(slot_bytes) for _ in range(count))
        super().__init__(book, syncer, "mover", [partial(_move, stores, bounce) for bounce in bounces])


def _move(stores: Mapping[TierName, Store], bounce: memoryview, batch: Batch) -> list[Outcome]:
    job, outcomes = batch.job, list[Outcome]()
    source, target = stores[job.source], stores[job.tier]
    for at in batch.blocks:
        if batch.is_given_up:
            break
        outcomes.append(move(source, job.source_slots[at], target, job.slots[at], job.checksum(at), bounce))
    return outcomes
