"""What the scheduler's side tells the workers with a step, and what they tell back. Plain data, fit for any pickle."""

from __future__ import annotations

from msgspec import Struct

from kvbm_tiers import Deletion, Job
from kvbm_tiers.reports import Reported


class Orders(Struct, kw_only=True):
    """For all workers, with one step.

    :ivar jobs: what to move, every rank its slice; their events are acknowledged
    :ivar deletions: blocks that have left object storage; before the jobs
    :ivar loads: by request that waits, all slots of g1 that it waits for; jobs for them come now or later
    :ivar lost: by request that waits, slots for which no job will come
    :ivar verdicts: where there are several ranks: by request, slots whose slices together are not what they were; until it is
        there, nobody may say that the load is over
    :ivar is_idle: whether the step computes nothing, so that there is time to wait for bytes
    """

    jobs: list[Job] = []
    deletions: list[Deletion] = []
    loads: dict[str, list[int]] = {}
    lost: dict[str, list[int]] = {}
    verdicts: dict[str, list[int]] = {}
    is_idle: bool = False


class Told(Struct, frozen=True, kw_only=True):
    """From one worker, after a step: what became of jobs at its rank."""

    rank: int
    reports: list[Reported]
