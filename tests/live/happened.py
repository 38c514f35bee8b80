"""Events of one instance in their order, at times that a test says."""

from __future__ import annotations

from kvbm_events.schema import (
    AnyEvent,
    Evicted,
    Found,
    Matched,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    Opened,
    Registered,
    TierSpec,
    pack_keys,
)
from kvbm_nats.live.meter import Numbered
from support.chained_keys import prefix

SECOND_US = 1_000_000


class Happened:
    """Numbers events. `at_s` is the time of the next ones."""

    def __init__(self, instance: str = "i") -> None:
        self.instance, self.at_s = instance, 0.0
        self._n = -1

    def opened(self, *kept: str) -> Numbered:
        tiers = [TierSpec(tier="g1", capacity=8), TierSpec(tier="g2", capacity=8)]
        return self._take(Opened, namespace="m", owner="test", tiers=tiers, kept=[*kept])

    def matched(self, request: str, asked: int, **found: int) -> Numbered:
        last = prefix([request])[0]
        parts = [Found(tier=tier, blocks=blocks, last=last) for tier, blocks in found.items()]
        return self._take(Matched, request=request, asked=asked, found=parts)

    def registered(self, blocks: int, existing: int = 0) -> Numbered:
        there = [(at, 100 + at) for at in range(existing)]
        return self._take(Registered, tier="g1", request="r", slots=[(0, blocks)], keys=_keys(blocks), existing=there)

    def evicted(self, blocks: int, reason: str, tier: str = "g1") -> Numbered:
        return self._take(Evicted, tier=tier, slots=[(0, blocks)], keys=_keys(blocks), reason=reason, actor="lru")

    def started(self, transfer: str, blocks: int, request: str = "", writer: str = "") -> Numbered:
        return self._take(
            OffloadStarted,
            transfer=transfer,
            source="g1",
            tier="g2",
            source_slots=[(0, blocks)],
            slots=[(0, blocks)],
            keys=_keys(blocks),
            deadline_us=0,
            request=request,
            writer=writer,
        )

    def completed(self, transfer: str, blocks: int, length_bytes: int = 10) -> Numbered:
        return self._take(
            OffloadCompleted, transfer=transfer, tier="g2", slots=[(0, blocks)], length_bytes=length_bytes
        )

    def failed(self, transfer: str, blocks: int, *, stopped: bool = True) -> Numbered:
        return self._take(
            OffloadFailed, transfer=transfer, tier="g2", slots=[(0, blocks)], reason="disk", stopped=stopped
        )

    def _take(self, kind: type[AnyEvent], **fields: object) -> Numbered:
        self._n += 1
        event = kind(epoch=1, n=self._n, at_us=round(self.at_s * SECOND_US), **fields)
        return Numbered(self.instance, self._n + 1, event)


def _keys(blocks: int) -> str:
    return pack_keys(prefix(range(blocks)))
