"""What is loose in a lineage while victims are being chosen, with those chosen already thought away."""

from __future__ import annotations

from itertools import takewhile

from kvbm_statemachine.lineage import NO_SLOT, Chain, Lineage


class LooseEnds:
    """A view of a lineage from which blocks can be taken without changing it."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._taken: dict[int, int] = {}
        self._lifted: dict[int, dict[int, int]] = {}

    def loose(self, chain: Chain) -> int:
        """Blocks at the end of the chain, above those taken, that nothing is pinned on or behind."""
        taken = self._taken.get(chain.id, 0)
        lifted = self._lifted.get(chain.id)
        if not lifted:
            return self._lineage.loose(chain) - taken
        position = self._lineage.position
        pinned = [position(slot) for slot, pins in chain.pins.items() if pins > lifted.get(slot, 0)]
        return chain.end - taken - (max(pinned) + 1 if pinned else chain.base)

    def is_loose(self, slot: int) -> bool:
        """Whether a block that was not taken is the end of its chain, with nothing pinned on it."""
        chain = self._lineage.chain_of(slot)
        if chain.slots[-1 - self._taken.get(chain.id, 0)] != slot:
            return False
        pins = chain.pins.get(slot, 0)
        return not pins or pins <= self._lifted.get(chain.id, {}).get(slot, 0)

    def take(self, chain: Chain, count: int) -> Chain | None:
        """Think the last `count` blocks away. The parent chain, where that took the whole chain and so a pin."""
        taken = self._taken[chain.id] = self._taken.get(chain.id, 0) + count
        if taken < len(chain.slots) or chain.parent_slot == NO_SLOT:
            return None
        parent = self._lineage.chain_of(chain.parent_slot)
        lifted = self._lifted.setdefault(parent.id, {})
        lifted[chain.parent_slot] = lifted.get(chain.parent_slot, 0) + 1
        return parent

    def tail(self, chain: Chain, most: int) -> list[int]:
        """Blocks at the end of the chain that are not taken, the deepest first, up to `most`; none but the first pinned."""
        end = len(chain.slots) - self._taken.get(chain.id, 0)
        slots = chain.slots[max(0, end - most) : end][::-1]
        pins = chain.pins
        return [*slots[:1], *takewhile(lambda slot: slot not in pins, slots[1:])] if pins else slots

    def end_after(self, chain: Chain, count: int) -> int:
        """Think the last `count` blocks away. The slot that is an end now, be it of the parent; `NO_SLOT` if none is."""
        chain = self.take(chain, count) or chain
        taken = self._taken.get(chain.id, 0)
        return chain.slots[-1 - taken] if taken < len(chain.slots) else NO_SLOT
