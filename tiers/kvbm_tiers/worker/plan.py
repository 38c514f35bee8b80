"""Who a worker is, and the error when its instance's owner does not want it."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.schema.errors import KvbmError
from kvbm_tiers.reports import HeldTier


class WorkerRefused(KvbmError):
    """The instance's owner does not take this worker: it is of another namespace, or counts other ranks."""


class WorkerPlan(Struct, frozen=True, kw_only=True):
    """One worker of an instance.

    :ivar namespace: fingerprint of what must agree before bytes are reused
    :ivar rank: which slice of every block it holds, from 0
    :ivar ranks: how many slices there are
    :ivar pp: into how many stages of pipeline parallel they divide; the ranks of a stage divide heads
    :ivar tiers: what is in its memory
    """

    instance: str
    namespace: str
    rank: int = 0
    ranks: int = 1
    pp: int = 1
    tiers: tuple[HeldTier, ...] = ()


def refused(plan: WorkerPlan, why: str) -> WorkerRefused:
    """The error of a worker that may not go on."""
    return WorkerRefused(
        f"the worker of rank {plan.rank} is not taken by the owner of {plan.instance!r}",
        why=why,
        hint="start it with the namespace, rank, ranks and stages that the owner has",
    )
