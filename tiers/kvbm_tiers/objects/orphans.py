"""Objects that no event accounts for: of blocks whose eviction nobody was there to follow, or that arrived too late.

    keys = state.tiers["g4"].lineage.index.keys() | state.incoming["g4"]
    for orphan in orphans(bucket, lambda: keys_now()):
        ...

The listing comes before the log is read. So whatever is listed was ordered by an event that is in the log, and the grace
covers only writes that outlive their transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kvbm_tiers.objects.bucket import Bucket

GRACE_S = 3600.0


class Orphan(NamedTuple):
    """An object of this instance that is not in its tier.

    :ivar modified: when it was written, by the store's clock
    """

    key: str
    size_bytes: int
    modified: datetime


def orphans(
    bucket: Bucket,
    accounted: Callable[[], Container[str]],
    *,
    grace_s: float = GRACE_S,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Orphan]:
    """Objects of the bucket's instance and slice that are older than the grace and not accounted for.

    Args:
        bucket: whose objects; those of other instances are passed over
        accounted: called after the listing: the keys that are in the tier, or on their way there, by the log as it is then
        grace_s: how long an object may be there before anybody accounts for it; longer than any transfer
        now: the clock, in UTC

    Raises:
        ObjectFailed: the objects cannot be listed.
    """
    before = now() - timedelta(seconds=grace_s)
    old = [Orphan(key, size_bytes, modified) for key, size_bytes, modified in bucket.listed() if modified < before]
    known = accounted()
    return [each for each in old if each.key not in known]


def delete_orphans(bucket: Bucket, found: Iterable[Orphan]) -> int:
    """Delete them; how many. Should one be written again meanwhile, its next reader finds it gone, and evicts it.

    Raises:
        ObjectFailed: some of them are still there.
    """
    keys = [each.key for each in found]
    bucket.delete(keys)
    return len(keys)
