"""An owner in numbers, for people and for machines."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.schema import TierName
from kvbm_statemachine.tier import Tier


class TierStatus(Struct, frozen=True, kw_only=True):
    """One tier in numbers of slots."""

    tier: TierName
    capacity: int
    policy: str
    control: str
    free: int
    allocated: int
    registered: int
    condemned: int
    quarantined: int

    @classmethod
    def of(cls, tier: Tier) -> TierStatus:
        """The numbers of a tier as it is now."""
        spec = tier.spec
        return cls(tier=spec.tier, capacity=spec.capacity, policy=spec.policy, control=spec.control, **tier.counts())


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
    events: dict[str, int] = {}
    evicted: dict[TierName, int] = {}
    digest: str = ""
