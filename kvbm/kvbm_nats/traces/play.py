"""Playing a trace against a cache, as an engine would: look up, load, compute what is missing, register, release.

Requests are played one after the other. What a prompt finds in lower tiers is brought to g1; what it finds nowhere is
computed. A prompt that does not fit into g1 is computed as far as it fits.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from msgspec import Struct

from kvbm_events.schema import TierName
from kvbm_nats.traces.pacing import AS_FAST_AS_IT_GOES, apaced
from kvbm_nats.traces.request import TraceRequest


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one request's blocks: found by tier, computed, or not cached for want of room."""

    found: dict[TierName, int]
    computed: int
    uncached: int = 0


class Cache(Protocol):
    """What a trace can be played against."""

    async def play(self, request: TraceRequest) -> Outcome:
        """Serve one request, and let it go."""
        ...


class Report(Struct, kw_only=True):
    """What a run came to, in blocks.

    :ivar found: hits by tier
    :ivar possible: hits of a cache without limit that starts empty
    """

    requests: int = 0
    asked: int = 0
    found: dict[TierName, int] = {}
    computed: int = 0
    uncached: int = 0
    possible: int = 0
    wall_s: float = 0.0

    @property
    def hit_ratio(self) -> float:
        """Hits in any tier, of all blocks asked for."""
        return sum(self.found.values()) / self.asked if self.asked else 0.0

    @property
    def possible_ratio(self) -> float:
        """Hits of a cache without limit, of all blocks asked for."""
        return self.possible / self.asked if self.asked else 0.0


async def play_trace(
    requests: Iterable[TraceRequest],
    cache: Cache,
    *,
    speed: float = AS_FAST_AS_IT_GOES,
    on_request: Callable[[Report], Awaitable[None] | None] = lambda _report: None,
) -> Report:
    """Play the requests at `speed` times their recorded pace.

    `on_request` is called after each one with the report so far.
    """
    report = Report()
    found = Counter[TierName]()
    start_s = time.monotonic()
    async for request in apaced(requests, speed):
        outcome = await cache.play(request)
        found.update(outcome.found)
        report.requests += 1
        report.asked += len(request.keys)
        report.found = dict(found)
        report.computed += outcome.computed
        report.uncached += outcome.uncached
        report.possible += len(request.keys) - request.new_blocks
        report.wall_s = time.monotonic() - start_s
        told = on_request(report)
        if told is not None:
            await told
    return report
