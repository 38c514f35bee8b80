"""An owner in numbers, for people and for machines."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.schema import TierName
from kvbm_statemachine.tier import Tier

EVICTABLE_MAX = 64


class TierStatus(Struct, frozen=True, kw_only=True):
    """One tier in numbers of slots.

    :ivar evictable: cached blocks that could make room, counted up to `EVICTABLE_MAX`; None unless asked for, and where an
        engine decides
    """

    tier: TierName
    capacity: int
    policy: str
    control: str
    free: int
    allocated: int
    registered: int
    condemned: int
    quarantined: int
    evictable: int | None = None

    @classmethod
    def of(cls, tier: Tier, *, with_room: bool = False) -> TierStatus:
        """The numbers of a tier as it is now."""
        spec = tier.spec
        return cls(
            tier=spec.tier,
            capacity=spec.capacity,
            policy=spec.policy,
            control=spec.control,
            evictable=_evictable(tier) if with_room and not tier.observed else None,
            **tier.counts(),
        )


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """A tier worker as its owner knows it.

    :ivar incarnation: of the worker that counts; empty before the first
    :ivar silent_s: since it was heard, or the owner began to listen
    :ivar refused: why the last worker that came could not be taken; empty if it could
    :ivar ended: whether it said good-bye
    """

    rank: int
    incarnation: str
    silent_s: float
    refused: str = ""
    ended: bool = False


class PathStatus(Struct, frozen=True, kw_only=True):
    """One path in numbers of blocks.

    :ivar waiting: wanted, and not begun
    :ivar transfers: under way, in quarantine included
    :ivar blocks: under way
    :ivar in_doubt: in quarantine: given up, and perhaps still being written
    :ivar started: that began in this epoch
    :ivar dropped: that were wanted in this epoch and never began, by reason: see `kvbm_nats.offloading.path_queue`
    :ivar refused: that the tier's admission did not want in this epoch, by reason
    """

    source: TierName
    tier: TierName
    waiting: int
    waiting_max: int
    transfers: int
    transfers_max: int
    blocks: int
    in_doubt: int
    blocks_max: int
    started: int
    dropped: dict[str, int] = {}
    refused: dict[str, int] = {}


class Status(Struct, frozen=True, kw_only=True):
    """An owner at a glance.

    :ivar workers: one a rank, where workers move the blocks; told by a service only
    :ivar events: events of this epoch by type
    :ivar evicted: blocks evicted in this epoch by tier
    :ivar digest: of the state after event `n`; empty unless asked for
    """

    instance: str
    namespace: str
    epoch: int
    n: int
    acked_n: int
    tiers: list[TierStatus]
    requests: int
    transfers: int
    paths: list[PathStatus] = []
    workers: list[WorkerStatus] = []
    events: dict[str, int] = {}
    evicted: dict[TierName, int] = {}
    digest: str = ""


def _evictable(tier: Tier) -> int:
    return min(EVICTABLE_MAX, sum([size for _, size in tier.policy.victims(EVICTABLE_MAX)]))
