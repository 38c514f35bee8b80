"""Counting the events of one interval."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Literal

from kvbm_events.schema import (
    AnyEvent,
    Evicted,
    Matched,
    Noted,
    Registered,
    TierName,
    TransferCompleted,
    total,
)
from kvbm_nats.live.moves import Step
from kvbm_nats.live.sample import PathFlow, TierFlow

Path = tuple[TierName | Literal[""], TierName]


class _Path:
    def __init__(self) -> None:
        self.transfers = self.blocks = self.size_bytes = self.failed = 0


class Counts:
    """What came since it was made."""

    def __init__(self) -> None:
        self.events = self.look_ups = self.asked = self.unread = 0
        self.found, self.evicted = Counter[TierName](), Counter[str]()
        self._came, self._left = Counter[TierName](), Counter[TierName]()
        self._paths: defaultdict[Path, _Path] = defaultdict(_Path)

    def take(self, event: AnyEvent) -> None:
        """Count an event."""
        self.events += 1
        match event:
            case Matched():
                self.look_ups += 1
                self.asked += event.asked
                self.found.update({part.tier: part.blocks for part in event.found})
            case Registered():
                self._came[event.tier] += total(event.slots) - len(event.existing)
            case Noted():
                self._came[event.tier] += total(event.slots)
            case TransferCompleted():
                self._came[event.tier] += total(event.slots) - len(event.existing)
            case Evicted():
                size = total(event.slots)
                self._left[event.tier] += size
                self.evicted[event.reason] += size
            case _:
                pass

    def moved(self, step: Step) -> None:
        """Count what an event said of a transfer."""
        path = self._paths[step.source, step.tier]
        path.transfers += step.is_over
        path.blocks += step.arrived
        path.size_bytes += step.size_bytes
        path.failed += step.failed

    def tiers(self) -> dict[TierName, TierFlow]:
        """By tier, fastest first."""
        names = sorted(self._came.keys() | self._left.keys())
        return {name: TierFlow(came=self._came[name], left=self._left[name]) for name in names}

    def paths(self) -> list[PathFlow]:
        """By path."""
        return [
            PathFlow(
                source=source,
                tier=tier,
                transfers=each.transfers,
                blocks=each.blocks,
                size_bytes=each.size_bytes,
                failed=each.failed,
            )
            for (source, tier), each in sorted(self._paths.items())
        ]
