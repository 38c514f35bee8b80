"""What a look-up found in lower tiers comes up to g1, for `match` with `onboard`.

Rules
1. A tier's part comes up as a whole or not at all, where g1 has no room for it.
2. What another request is bringing up already is waited for, and then looked up again, so that this request holds it.
3. What is not in g1 in the end stays in the answer under its tier, with a note that says why.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import TierFull
from kvbm_nats.manager import BlockManager
from kvbm_nats.service.messages import MatchAnswer, MatchCall, TierHit

TOP: TierName = "g1"


def is_below(hits: Sequence[TierHit]) -> bool:
    """Whether something was found in a lower tier."""
    return any(hit.tier != TOP for hit in hits)


class Wanted:
    """The blocks that one look-up found. Its methods are for the owner's thread."""

    def __init__(self, call: MatchCall, hits: Sequence[TierHit]) -> None:
        self._call, self._hits = call, hits
        self._keys = call.keys[: sum(len(hit.slots) for hit in hits)]

    def start(self, manager: BlockManager) -> tuple[str, bool]:
        """Start the transfers; why not all were started, and whether somebody else's bring some of the blocks."""
        shared = not self.is_there(manager)
        at = 0
        try:
            for hit in self._hits:
                keys = self._keys[at : at + len(hit.slots)]
                if hit.tier != TOP:
                    manager.onboard(self._call.request, keys, source=hit.tier, tier=TOP)
                at += len(keys)
        except TierFull as error:
            return str(error), shared
        return "", shared

    def is_there(self, manager: BlockManager) -> bool:
        """Whether no block is on its way any more."""
        coming = manager.state.incoming.get(TOP)
        return not coming or coming.isdisjoint(self._keys)

    def look_again(self, manager: BlockManager, note: str, *, shared: bool) -> MatchAnswer:
        """What is where now."""
        if shared:
            manager.match(self._call.request, self._keys)
        came = manager.resident(self._keys, TOP)
        hits = [TierHit(tier=TOP, slots=came)] if came else []
        hits += self._left_below(len(came))
        if is_below(hits) and not note:
            note = "a transfer failed" if self.is_there(manager) else f"not all arrived within {self._call.wait_s:g} s"
        return MatchAnswer(epoch=manager.state.epoch, n=manager.state.n, hits=hits, note=note)

    def _left_below(self, came: int) -> list[TierHit]:
        left: list[TierHit] = []
        at = 0
        for hit in self._hits:
            rest = hit.slots[max(0, came - at) :]
            if hit.tier != TOP and rest:
                left.append(TierHit(tier=hit.tier, slots=rest))
            at += len(hit.slots)
        return left
