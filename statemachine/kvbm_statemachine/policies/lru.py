"""lru: the block goes that was used longest ago, children before parents."""

from __future__ import annotations

from kvbm_statemachine.policies.fifo import Fifo


class Lru(Fifo):
    """Least recently used block first: a queue that a used block joins again."""

    name = "lru"

    def touched(self, slot: int) -> None:
        """See `Policy.touched`."""
        for slots in self._path(slot):
            self._blocks.join(0, slots)
            self._blocks.watch(slots[0])
