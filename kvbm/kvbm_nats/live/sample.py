"""What happened in one interval, in counts: who wants a rate divides by `interval_s`. Fields are only ever added.

`docs/schemas/stat.schema.json` is made of these (`python -m kvbm_nats.live > docs/schemas/stat.schema.json`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, structs

from kvbm_events.schema import TierName


class TierFlow(Struct, frozen=True, kw_only=True):
    """Blocks of one tier: `came` were registered or arrived, `left` were evicted."""

    came: int = 0
    left: int = 0


class PathFlow(Struct, frozen=True, kw_only=True):
    """What ended on one path in the interval.

    :ivar source: empty where the transfer began before anybody looked
    :ivar transfers: that are over, in whatever way
    :ivar blocks: that arrived, in `size_bytes`
    :ivar failed: blocks that did not
    """

    source: TierName | Literal[""]
    tier: TierName
    transfers: int = 0
    blocks: int = 0
    size_bytes: int = 0
    failed: int = 0


class Sample(Struct, frozen=True, kw_only=True):
    """One interval of one instance, or of several together. What only a service can tell is null where none answers.

    :ivar at_us: its end, in microseconds since 1970, by the clock of who looks
    :ivar instances: those that answered, or had events since somebody looks
    :ivar away: why nothing is known of the interval; empty while the log is followed
    :ivar asked: blocks that were looked up; `found` of them in each tier
    :ivar hit_ratio: found of asked; null where nothing was looked up
    :ivar evicted: blocks by reason
    :ivar in_flight: transfers under way, those in quarantine not included
    :ivar waiting: blocks that wait for their path
    :ivar dropped: blocks that were wanted and never began in the interval, by reason
    :ivar unstored: events that owners have decided and the log has not acknowledged
    :ivar lag: events in the log that were not read yet for this line; null where nobody can say
    :ivar unread: events that could not be decoded, or were of an owner whose time is over
    """

    at_us: int
    interval_s: float
    instances: list[str] = []
    away: str = ""
    events: int = 0
    look_ups: int = 0
    asked: int = 0
    found: dict[TierName, int] = {}
    hit_ratio: float | None = None
    tiers: dict[TierName, TierFlow] = {}
    evicted: dict[str, int] = {}
    paths: list[PathFlow] = []
    in_flight: int = 0
    waiting: int | None = None
    dropped: dict[str, int] | None = None
    unstored: int | None = None
    lag: int | None = None
    unread: int = 0

    @property
    def moved_bytes(self) -> int:
        """Bytes that arrived on all paths."""
        return sum(path.size_bytes for path in self.paths)

    def per_s(self, count: float) -> float:
        """A count of the interval as a rate."""
        return count / self.interval_s


def together(samples: Sequence[Sample]) -> Sample:
    """Samples that follow each other as one; those in which nothing is known are left out. At least one sample."""
    known = [sample for sample in samples if not sample.away] or [samples[-1]]
    asked = sum(sample.asked for sample in known)
    found, evicted = Counter[TierName](), Counter[str]()
    tiers = defaultdict[TierName, list[TierFlow]](list)
    paths = defaultdict[tuple[TierName | Literal[""], TierName], list[PathFlow]](list)
    for sample in known:
        found.update(sample.found)
        evicted.update(sample.evicted)
        for tier, flow in sample.tiers.items():
            tiers[tier].append(flow)
        for path in sample.paths:
            paths[path.source, path.tier].append(path)
    return structs.replace(
        known[-1],
        interval_s=sum(sample.interval_s for sample in known),
        events=sum(sample.events for sample in known),
        look_ups=sum(sample.look_ups for sample in known),
        asked=asked,
        found=dict(found),
        hit_ratio=found.total() / asked if asked else None,
        tiers={
            tier: TierFlow(came=sum(flow.came for flow in flows), left=sum(flow.left for flow in flows))
            for tier, flows in sorted(tiers.items())
        },
        evicted=dict(evicted),
        paths=[_sum_of(parts) for _, parts in sorted(paths.items())],
        unread=sum(sample.unread for sample in known),
    )


def _sum_of(parts: Sequence[PathFlow]) -> PathFlow:
    return structs.replace(
        parts[0],
        transfers=sum(part.transfers for part in parts),
        blocks=sum(part.blocks for part in parts),
        size_bytes=sum(part.size_bytes for part in parts),
        failed=sum(part.failed for part in parts),
    )
