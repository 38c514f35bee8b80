"""hits_over_time: what look-ups asked for and found, in equal spans of time."""

from __future__ import annotations

from collections import Counter

from kvbm_events.schema import TierName
from kvbm_nats.explain.answers import HitSpan
from kvbm_nats.explain.look_up import LookUp
from kvbm_nats.projection import Projection

SPANS = 60
LOOK_UPS = 3000
"""The newest look-ups, of which the time goes from the first to the last."""


async def hits_over_time(projection: Projection, instance: str, until: int) -> list[HitSpan]:
    """The newest look-ups up to and with a sequence, in up to `SPANS` spans, the oldest first; none where nobody asked."""
    rows = await projection.journal(instance, types=["Matched"], until=until, limit=LOOK_UPS, newest_first=True)
    look_ups = [look_up for row in rows if row.applied_seq is not None and (look_up := LookUp.of(row))]
    if not look_ups:
        return []
    first_us = min(each.at_us for each in look_ups)
    width_us = max(1, -(-(max(each.at_us for each in look_ups) + 1 - first_us) // SPANS))
    spans: list[list[LookUp]] = [[] for _ in range(SPANS)]
    for look_up in look_ups:
        spans[(look_up.at_us - first_us) // width_us].append(look_up)
    return [_span(first_us + number * width_us, width_us, each) for number, each in enumerate(spans)]


def _span(from_us: int, width_us: int, look_ups: list[LookUp]) -> HitSpan:
    found = Counter[TierName]()
    for look_up in look_ups:
        found.update({part.tier: part.blocks for part in look_up.found})
    return HitSpan(
        from_us=from_us,
        to_us=from_us + width_us,
        look_ups=len(look_ups),
        asked=sum(look_up.asked for look_up in look_ups),
        found={tier: found[tier] for tier in sorted(found)},
    )
