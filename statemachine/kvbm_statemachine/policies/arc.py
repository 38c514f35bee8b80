"""arc: adapts how much room blocks used once get against blocks used more often.

After Megiddo and Modha, "ARC: a self-tuning, low overhead replacement cache" (FAST 2003). Keys of evicted blocks are
kept for either kind; each one that comes back moves the target `p`, the share of the blocks used once, its way. As
room is made before the blocks that need it are known, their keys move `p` when they are registered, not before.
"""

from __future__ import annotations

from typing import Any

from kvbm_statemachine.lineage import NO_SLOT, Chain, Lineage
from kvbm_statemachine.policies.block_policy import BlockPolicy
from kvbm_statemachine.policies.block_queues import NEVER
from kvbm_statemachine.policies.ghosts import Ghosts
from kvbm_statemachine.policies.loose_ends import LooseEnds

_ONCE, _OFTEN = 0, 1


class Arc(BlockPolicy):
    """See the module."""

    name = "arc"
    moves_at = (NEVER, NEVER)

    def __init__(self, lineage: Lineage, capacity: int) -> None:
        super().__init__(lineage, capacity)
        self._p = 0
        self._ghosts = Ghosts(), Ghosts()

    def touched(self, slot: int) -> None:
        """See `Policy.touched`."""
        for slots in self._path(slot):
            self._blocks.join(_OFTEN, slots)
            self._blocks.watch(slots[0])

    def _enter(self, keys: list[str], slots: list[int]) -> None:
        once, often = self._ghosts
        if once.isdisjoint(keys) and often.isdisjoint(keys):
            self._blocks.join(_ONCE, slots)
            self._forget()
            return
        for key, slot in zip(keys, slots, strict=True):
            if key in once:
                self._p = min(self.capacity, self._p + max(1, len(often) // len(once)))
            elif key in often:
                self._p = max(0, self._p - max(1, len(once) // len(often)))
            returns = once.remove(key) or often.remove(key)
            self._blocks.join(_OFTEN if returns else _ONCE, (slot,))
        self._forget()

    def _next(self, ends: LooseEnds) -> int:
        queue = _ONCE if self._blocks.sizes[_ONCE] > self._p else _OFTEN
        slot = self._blocks.first(queue, ends)
        return slot if slot != NO_SLOT else self._blocks.first(_OFTEN - queue, ends)

    def _repeats(self, queue: int) -> int:
        return self.capacity if queue == _OFTEN else max(1, self._blocks.sizes[_ONCE] - self._p)

    def _evict(self, chain: Chain, count: int) -> None:
        slots, keys = chain.slots[: -count - 1 : -1], chain.keys[: -count - 1 : -1]
        for ghosts, queue in zip(self._ghosts, (_ONCE, _OFTEN), strict=True):
            ghosts.add([key for key, slot in zip(keys, slots, strict=True) if self._blocks.queue_of[slot] == queue])
        super()._evict(chain, count)
        self._forget()

    def _forget(self) -> None:
        """With its ghosts, the blocks used once are at most as many as the tier has slots, and all at most twice."""
        (once, often), sizes = self._ghosts, self._blocks.sizes
        once.trim(self.capacity - sizes[_ONCE])
        often.trim(2 * self.capacity - sum(sizes) - len(once))

    def dump(self) -> Any:  # noqa: ANN401 - see `Policy.dump`
        """See `Policy.dump`."""
        return [super().dump(), self._p, [ghosts.dump() for ghosts in self._ghosts]]

    def load(self, dumped: Any) -> None:  # noqa: ANN401 - see `Policy.load`
        """See `Policy.load`."""
        queues, self._p, ghosts = dumped
        super().load(queues)
        for own, packed in zip(self._ghosts, ghosts, strict=True):
            own.load(packed)
