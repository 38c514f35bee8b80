"""s3fifo: most new blocks are never used again, so they leave early, by way of a small queue.

After Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023). A new block joins the small queue, a
tenth of the tier. At its end it moves to the main queue if it was used twice; else it leaves, and only its key is kept.
A key that comes back goes to the main queue at once. At the end of the main queue a block that was used joins again,
with one use less of at most three.
"""

from __future__ import annotations

from typing import Any

from kvbm_statemachine.lineage import NO_SLOT, Chain, Lineage
from kvbm_statemachine.policies.block_policy import BlockPolicy
from kvbm_statemachine.policies.ghosts import Ghosts
from kvbm_statemachine.policies.loose_ends import LooseEnds

_SMALL, _MAIN = 0, 1
_MOST_USES = 3


class S3Fifo(BlockPolicy):
    """See the module."""

    name = "s3fifo"
    moves_at = (2, 1)

    def __init__(self, lineage: Lineage, capacity: int) -> None:
        super().__init__(lineage, capacity)
        self._small_size = max(1, capacity // 10)
        self._ghosts = Ghosts()

    def touched(self, slot: int) -> None:
        """See `Policy.touched`."""
        for slots in self._path(slot):
            self._blocks.use(slots, _MOST_USES)

    def _enter(self, keys: list[str], slots: list[int]) -> None:
        if self._ghosts.isdisjoint(keys):
            self._blocks.join(_SMALL, slots)
            return
        for key, slot in zip(keys, slots, strict=True):
            self._blocks.join(_MAIN if self._ghosts.remove(key) else _SMALL, (slot,))

    def _repeats(self, queue: int) -> int:
        return self.capacity if queue == _MAIN else max(1, self._blocks.sizes[_SMALL] - self._small_size + 1)

    def _next(self, ends: LooseEnds) -> int:
        blocks = self._blocks
        while True:
            queue = _SMALL if blocks.sizes[_SMALL] >= self._small_size else _MAIN
            slot = blocks.first(queue, ends)
            if slot == NO_SLOT:
                queue = _MAIN - queue
                slot = blocks.first(queue, ends)
            if slot == NO_SLOT or blocks.uses[slot] < self.moves_at[queue]:
                return slot
            blocks.move(slot, _MAIN, 0 if queue == _SMALL else blocks.uses[slot] - 1)

    def _evict(self, chain: Chain, count: int) -> None:
        for queue, keys in self._in_turn(chain, count):
            if queue == _SMALL:
                self._ghosts.add(keys)
        self._ghosts.trim(self.capacity - self._small_size)

    def dump(self) -> Any:  # noqa: ANN401 - see `Policy.dump`
        """See `Policy.dump`."""
        return [super().dump(), bytes(self._blocks.uses), self._ghosts.dump()]

    def load(self, dumped: Any) -> None:  # noqa: ANN401 - see `Policy.load`
        """See `Policy.load`."""
        queues, self._blocks.uses[:], ghosts = dumped
        super().load(queues)
        self._ghosts.load(ghosts)
