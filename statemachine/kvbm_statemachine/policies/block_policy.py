"""What the policies have in common that order blocks one by one: leaf first, by `BlockQueues`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from kvbm_statemachine.lineage import NO_SLOT, Chain, Lineage
from kvbm_statemachine.policies.base import Policy, Victims
from kvbm_statemachine.policies.block_queues import NEVER, BlockQueues
from kvbm_statemachine.policies.loose_ends import LooseEnds


class BlockPolicy(Policy):
    """A policy that names single blocks. A use of a prefix uses its deepest block first and its root last.

    :cvar moves_at: a number for each queue: the uses with which a block moves on when its turn to leave comes
    """

    moves_at: ClassVar[Sequence[int]] = (NEVER,)

    def __init__(self, lineage: Lineage, capacity: int) -> None:
        super().__init__(lineage, capacity)
        self._blocks = BlockQueues(capacity, self.moves_at)

    @abstractmethod
    def _enter(self, keys: list[str], slots: list[int]) -> None:
        """New blocks join a queue, the deepest first."""

    @abstractmethod
    def _next(self, ends: LooseEnds) -> int:
        """Make the moves that come before the next eviction. The slot to evict; `NO_SLOT` if no block is loose."""

    def _repeats(self, queue: int) -> int:  # noqa: ARG002 - for those that have several
        """How many blocks, this one included, may leave a queue before `_next` could ask another."""
        return self.capacity

    def _evict(self, chain: Chain, count: int) -> None:
        """The last `count` blocks of the chain leave for room."""
        self._blocks.leave(chain.slots[-count:])

    def registered(self, chain: Chain, count: int) -> None:
        """See `Policy.registered`."""
        self._enter(chain.keys[: -count - 1 : -1], chain.slots[: -count - 1 : -1])
        self._blocks.watch(chain.slots[-1])

    def leaving(self, chain: Chain, count: int, *, for_room: bool) -> None:
        """See `Policy.leaving`."""
        if for_room:
            self._evict(chain, count)
        else:
            self._blocks.leave(chain.slots[-count:])
        if count < len(chain.slots):
            self._blocks.watch(chain.slots[-1 - count])

    def loosened(self, chain: Chain) -> None:
        """See `Policy.loosened`."""
        self._blocks.watch(chain.slots[-1])

    def victims(self, count: int) -> list[Victims]:
        """See `Policy.victims`."""
        found: list[Victims] = []
        blocks, ends = self._blocks, LooseEnds(self.lineage)
        blocks.rehearse()
        try:
            while count and (slot := self._next(ends)) != NO_SLOT:
                chain = self.lineage.chain_of(slot)
                slots = self._row(ends, chain, count)
                before = found.pop()[1] if found and found[-1][0] is chain else 0
                found.append((chain, before + len(slots)))
                self._take(ends, chain, slots)
                count -= len(slots)
        finally:
            blocks.undo()
        return found

    def dump(self) -> Any:  # noqa: ANN401 - see `Policy.dump`
        """See `Policy.dump`."""
        return self._blocks.dump()

    def load(self, dumped: Any) -> None:  # noqa: ANN401 - see `Policy.load`
        """See `Policy.load`."""
        self._blocks.load(dumped)

    def _path(self, slot: int) -> Iterator[list[int]]:
        """The slots of a block and its ancestors, chain by chain, the deepest first."""
        for chain, size in self.lineage.path(slot):
            yield chain.slots[size - 1 :: -1]

    def _in_turn(self, chain: Chain, count: int) -> Iterator[tuple[int, list[str]]]:
        """The queue and the keys of blocks that leave for room, when the moves that come before are made."""
        ends, blocks = LooseEnds(self.lineage), self._blocks
        at = len(chain.slots) - 1
        last = at - count
        while at > last:
            slot = chain.slots[at]
            is_next = self._next(ends) == slot  # else another policy has chosen it
            slots = self._row(ends, chain, at - last) if is_next else [slot]
            yield blocks.queue_of[slot], chain.keys[at - len(slots) + 1 : at + 1][::-1]
            self._take(ends, chain, slots)
            at -= len(slots)

    def _row(self, ends: LooseEnds, chain: Chain, most: int) -> list[int]:
        """The next block, which is the end of the chain, and those before it that are sure to be next after it."""
        end = ends.tail(chain, 1)[0]
        return self._blocks.row(ends.tail(chain, min(most, self._repeats(self._blocks.queue_of[end]))))

    def _take(self, ends: LooseEnds, chain: Chain, slots: list[int]) -> None:
        self._blocks.leave(slots)
        end = ends.end_after(chain, len(slots))
        if end != NO_SLOT:
            self._blocks.watch(end)
