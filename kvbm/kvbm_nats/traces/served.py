"""A trace's requests served by the service, through its client."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import ROOT, TierName
from kvbm_events.schema.errors import TierFull
from kvbm_nats.publisher import Publisher
from kvbm_nats.traces.play import Outcome
from kvbm_nats.traces.request import TraceRequest

PIECE = 512
"""Blocks allocated at once, so that a prompt that does not fit is cached as far as it goes."""


class ServedCache:
    """Plays against a `Publisher`. See `Cache`."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def play(self, request: TraceRequest) -> Outcome:
        """See `Cache.play`."""
        name, keys = request.request, request.keys
        hits = (await self._publisher.match(name, keys, onboard=True)).hits
        found: dict[TierName, int] = {hit.tier: len(hit.slots) for hit in hits}
        cached = sum(found.values())
        while cached < len(keys):
            piece = keys[cached : cached + PIECE]
            if not await self._compute(name, piece, keys[cached - 1] if cached else ROOT):
                break
            cached += len(piece)
        await self._publisher.release(name)
        return Outcome(found=found, computed=len(keys) - sum(found.values()), uncached=len(keys) - cached)

    async def _compute(self, request: str, keys: Sequence[str], parent: str) -> bool:
        """Allocate and register blocks; whether there was room."""
        try:
            slots = await self._publisher.allocate(request, len(keys))
        except TierFull:
            return False
        await self._publisher.register(request, slots, keys, parent=parent)
        return True
