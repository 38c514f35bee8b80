"""Objects that no event accounts for: of blocks whose eviction nobody was there to follow, or that arrived too late.

The listing comes before the log is asked. So whatever is listed was ordered by an event that is in the log, and the grace
covers only writes that outlive their transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta

from kvbm_tiers.objects.blocks import BlockObject, BlockObjects

GRACE_S = 3600.0


def orphans(
    blocks: BlockObjects,
    accounted: Callable[[], Container[str]],
    *,
    grace_s: float = GRACE_S,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[BlockObject]:
    """Objects of an instance and slice that are older than the grace and not accounted for; `blocks.delete` ends them.

    Should one be written again before it is deleted, its next reader finds it gone, and evicts it.

    Args:
        blocks: whose objects
        accounted: called after the listing: the keys that are in the tier, or on their way there, by the log as it is then
        grace_s: how long an object may be there before anybody accounts for it; longer than any transfer
        now: the clock, in UTC

    Raises:
        ObjectFailed: the objects cannot be listed.
    """
    before = now() - timedelta(seconds=grace_s)
    old = [each for each in blocks.listed() if each.modified < before]
    known = accounted()
    return [each for each in old if each.key not in known]
