"""All that is shown of an instance at one moment. It is not changed any more, so that another thread may read it."""

from __future__ import annotations

from msgspec import Struct

from kvbm_nats.live.meter import Asked
from kvbm_nats.live.moves import Move
from kvbm_nats.live.sample import Sample
from kvbm_nats.status import Status, TierStatus


class WorkerSeen(Struct, frozen=True, kw_only=True):
    """Who has the memory of a rank.

    :ivar holder: as the log told it; empty where that was before anybody looked
    :ivar heard_us: when a worker of its own process was last heard; 0 where none was
    :ivar ended: it said that it ends
    """

    rank: int
    holder: str = ""
    heard_us: int = 0
    ended: bool = False


class Slots(Struct, frozen=True, kw_only=True):
    """What is in the tiers, as the service tells it, or else the log.

    :ivar note: why that is not known; empty while it is
    """

    epoch: int = 0
    requests: int = 0
    tiers: list[TierStatus] = []
    note: str = ""


class View(Struct, frozen=True, kw_only=True):
    """See the module.

    :ivar instance: None for all together; of those `slots` are not known
    :ivar at_us: by the clock of who looks
    :ivar is_ready: whether the log was read up to its end
    :ivar away: why the log is not followed now; empty while it is
    :ivar away_since_us: since when
    :ivar samples: oldest first, the last one being the present interval's
    :ivar transfers: the slowest of those under way or over not long ago
    :ivar under_way: transfers by path, `g1>g2`
    :ivar look_ups: newest first
    :ivar status: what the instance's service said last; None where none answers
    """

    instance: str | None
    at_us: int
    is_ready: bool = True
    away: str = ""
    away_since_us: int = 0
    seq: int = 0
    slots: Slots = Slots()
    samples: list[Sample] = []
    transfers: list[Move] = []
    under_way: dict[str, int] = {}
    look_ups: list[Asked] = []
    workers: list[WorkerSeen] = []
    status: Status | None = None
