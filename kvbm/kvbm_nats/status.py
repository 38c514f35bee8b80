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


class PeerStatus(Struct, frozen=True, kw_only=True):
    """Another instance whose objects are found and read too, as its follower knows it.

    :ivar is_named: whether it was meant by its name, and not by a pattern
    :ivar namespace: its own; of another one than ours nothing is kept
    :ivar blocks: that it has in object storage, and that are known here
    :ivar passed_over: blocks that are not kept in mind, for there were too many
    :ivar seq: up to where its log was read
    :ivar end_seq: of its last event when it was looked at last; 0 where it has no log
    :ivar is_current: whether its log is read as fast as it grows: to the end that it had at the look before that one
    :ivar trouble: why it cannot be followed at the moment; empty if it can
    """

    name: str
    is_named: bool
    namespace: str
    blocks: int
    passed_over: int
    seq: int
    end_seq: int
    is_current: bool
    trouble: str

    def wrong(self, namespace: str) -> str:
        """Why not all that it has is found by an owner of this namespace; empty if all is."""
        if self.trouble:
            return f"cannot be followed: {self.trouble}"
        if not self.end_seq:
            return "has no log"
        if not self.is_current:
            return f"read up to {self.seq:,} of {self.end_seq:,}"
        if self.namespace != namespace:
            return f"another namespace: {self.namespace}"
        return f"{self.passed_over:,} blocks too many to be kept in mind" if self.passed_over else ""


class Status(Struct, frozen=True, kw_only=True):
    """An owner at a glance.

    :ivar peers: those that are followed; empty where none are
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
    peers: list[PeerStatus] = []
    workers: list[WorkerStatus] = []
    events: dict[str, int] = {}
    evicted: dict[TierName, int] = {}
    digest: str = ""


def _evictable(tier: Tier) -> int:
    return min(EVICTABLE_MAX, sum([size for _, size in tier.policy.victims(EVICTABLE_MAX)]))
