"""What a look-up found in lower tiers comes up to g1, for `match` with `onboard`.

Rules
1. A tier's part comes up as a whole or not at all, where g1 has no room for it.
2. What another request is bringing up already is waited for, and then looked up again, so that this request holds it.
3. What is not in g1 in the end stays in the answer under its tier, with a note that says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import TierFull
from kvbm_nats.manager import BlockManager
from kvbm_nats.offloading import Ticket
from kvbm_nats.service.messages import MatchAnswer, MatchCall, TierHit

TOP: TierName = "g1"
OTHERS = "another request was bringing some up, and they are not there"


def is_below(hits: Sequence[TierHit]) -> bool:
    """Whether something was found in a lower tier."""
    return any(hit.tier != TOP for hit in hits)


class Wanted:
    """The blocks that one look-up found. Its methods are for the owner's thread."""

    def __init__(self, call: MatchCall, hits: Sequence[TierHit]) -> None:
        self._call, self._hits = call, hits
        self._keys = call.keys[: sum(len(hit.slots) for hit in hits)]
        self._tickets: list[Ticket] = []

    def start(self, manager: BlockManager) -> str:
        """Ask for the blocks; why not for all."""
        at = 0
        try:
            for hit in self._hits:
                keys = self._keys[at : at + len(hit.slots)]
                if hit.tier != TOP:
                    self._tickets.append(manager.onboard(self._call.request, keys, source=hit.tier, tier=TOP))
                at += len(keys)
        except TierFull as error:
            return str(error)
        return ""

    def is_over(self, _manager: BlockManager) -> bool:
        """Whether no block is on its way any more."""
        return all(ticket.is_over for ticket in self._tickets)

    def look_again(self, manager: BlockManager, note: str) -> MatchAnswer:
        """What is where now."""
        is_open = self._call.request in manager.state.requests
        if is_open and any(ticket.shared for ticket in self._tickets):
            manager.match(self._call.request, self._keys)
        came = manager.resident(self._keys, TOP)
        hits = [TierHit(tier=TOP, slots=came)] if came else []
        hits += self._left_below(len(came))
        if is_below(hits) and not note:
            note = self._why() if self.is_over(manager) else f"not all arrived within {self._call.wait_s:g} s"
        return MatchAnswer(epoch=manager.state.epoch, n=manager.state.n, hits=hits, note=note)

    def _why(self) -> str:
        failed = sum((ticket.failed for ticket in self._tickets), Counter[str]())
        return "; ".join(f"{blocks} did not come: {why}" for why, blocks in failed.items()) or OTHERS

    def _left_below(self, came: int) -> list[TierHit]:
        left: list[TierHit] = []
        at = 0
        for hit in self._hits:
            rest = hit.slots[max(0, came - at) :]
            if hit.tier != TOP and rest:
                left.append(TierHit(tier=hit.tier, slots=rest))
            at += len(hit.slots)
        return left
