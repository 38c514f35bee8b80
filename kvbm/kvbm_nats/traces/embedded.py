"""A trace's requests served by an embedded owner."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import ROOT, TierName
from kvbm_events.schema.errors import TierFull
from kvbm_nats.manager import BlockManager
from kvbm_nats.traces.content import Content
from kvbm_nats.traces.play import Outcome
from kvbm_nats.traces.request import TraceRequest

PIECE = 512
"""Blocks allocated at once, so that a prompt that does not fit is cached as far as it goes."""


class EmbeddedCache:
    """Plays against a `BlockManager` in this thread. See `Cache`."""

    def __init__(self, manager: BlockManager, content: Content | None = None) -> None:
        """With `content`, blocks are written when they are computed, and compared when they were brought up."""
        self.manager, self._content = manager, content

    async def play(self, request: TraceRequest) -> Outcome:
        """See `Cache.play`."""
        manager, name, keys = self.manager, request.request, request.keys
        hits = manager.match(name, keys)
        at = 0
        for hit in hits:
            end = at + len(hit.slots)
            if hit.tier == "g1":
                at = end
                continue
            at += self._load(name, keys[at:end], hit.tier)
            if at < end:
                break
        cached = at
        while cached < len(keys):
            piece = keys[cached : cached + PIECE]
            if not self._compute(name, piece, keys[cached - 1] if cached else ROOT):
                break
            cached += len(piece)
        manager.release(name)
        manager.maintain()
        if manager.waiting:  # an engine would compute meanwhile; here the next request comes at once
            manager.settle()
        found: dict[TierName, int] = {hit.tier: len(hit.slots) for hit in hits}
        return Outcome(found=found, computed=len(keys) - sum(found.values()), uncached=len(keys) - cached)

    def _load(self, request: str, keys: Sequence[str], source: TierName) -> int:
        """Bring blocks to g1; how many of the first are there now."""
        manager = self.manager
        for is_last_try in (False, True):
            try:
                manager.wait([manager.onboard(request, keys, source=source)])
                break
            except TierFull:
                if is_last_try:
                    break
                manager.settle()
        slots = manager.resident(keys)
        if self._content:
            self._content.check(slots, keys[: len(slots)])
        return len(slots)

    def _compute(self, request: str, keys: Sequence[str], parent: str) -> bool:
        """Allocate and register blocks; whether there was room."""
        manager = self.manager
        for is_last_try in (False, True):
            try:
                slots = manager.allocate(request, len(keys))
            except TierFull:
                if is_last_try:
                    return False
                manager.settle()
            else:
                if self._content:
                    self._content.fill(slots, keys)
                manager.register(request, slots, keys, parent=parent)
                return True
        return False
