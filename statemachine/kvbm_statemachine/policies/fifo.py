"""fifo: the block goes that was registered first, children before parents. Uses do not count."""

from __future__ import annotations

from kvbm_statemachine.policies.block_policy import BlockPolicy
from kvbm_statemachine.policies.loose_ends import LooseEnds


class Fifo(BlockPolicy):
    """First in, first out."""

    name = "fifo"

    def touched(self, slot: int) -> None:
        """See `Policy.touched`."""

    def _enter(self, keys: list[str], slots: list[int]) -> None:  # noqa: ARG002 - blocks are told apart by slot
        self._blocks.join(0, slots)

    def _next(self, ends: LooseEnds) -> int:
        return self._blocks.first(0, ends)
