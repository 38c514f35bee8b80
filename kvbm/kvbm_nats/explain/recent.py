"""recent_requests: who asked lately, what was found, and who missed most."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.explain.answers import AskedLately, RecentRequests
from kvbm_nats.explain.look_up import LookUp
from kvbm_nats.projection import Projection

Order = Literal["recent", "missed"]
REQUESTS_MAX = 1000
LOOK_UPS = 5000
"""The newest look-ups that are read."""


async def recent_requests(
    projection: Projection,
    *,
    until: int,
    instance: str | None = None,
    containing: str = "",
    order: Order = "recent",
    limit: int = 50,
) -> RecentRequests:
    """The requests of the newest `LOOK_UPS` look-ups up to and with a sequence.

    Args:
        projection: what is read
        until: as of this sequence
        instance: only those that asked this one
        containing: only those whose name has this text in it
        order: the last one that asked first, or the one that missed most blocks
        limit: how many are named

    Raises:
        InvalidCommand: the limit is not 1 to `REQUESTS_MAX`.
    """
    if not 1 <= limit <= REQUESTS_MAX:
        raise InvalidCommand(f"{limit} requests", why=f"one answer has 1 to {REQUESTS_MAX:,}")
    rows = await projection.journal(instance, types=["Matched"], until=until, limit=LOOK_UPS, newest_first=True)
    look_ups = [look_up for row in rows if row.applied_seq is not None and (look_up := LookUp.of(row))]
    by_request: dict[tuple[str, str], list[LookUp]] = {}
    for look_up in look_ups:
        if containing in look_up.request:
            by_request.setdefault((look_up.instance, look_up.request), []).append(look_up)
    found = [_asked(each) for each in by_request.values()]
    if order == "missed":
        found.sort(key=lambda each: -each.missed)
    return RecentRequests(
        after_seq=rows[-1].seq - 1 if len(rows) == LOOK_UPS else 0,
        until_seq=until,
        look_ups=len(look_ups),
        requests=found[:limit],
        more=max(0, len(found) - limit),
    )


def _asked(look_ups: list[LookUp]) -> AskedLately:
    """One request; its look-ups are the newest first."""
    newest = look_ups[0]
    found = Counter[TierName]()
    for look_up in look_ups:
        found.update({part.tier: part.blocks for part in look_up.found})
    asked = sum(look_up.asked for look_up in look_ups)
    return AskedLately(
        request=newest.request,
        instance=newest.instance,
        seq=newest.seq,
        at_us=newest.at_us,
        look_ups=len(look_ups),
        asked=asked,
        found={tier: found[tier] for tier in sorted(found)},
        missed=asked - found.total(),
    )
