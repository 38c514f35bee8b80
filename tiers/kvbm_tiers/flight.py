"""A batch on its way through NIXL: its blocks in groups, each a transfer, and what became of each block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from kvbm_tiers.block_move import reason_of
from kvbm_tiers.job_book import OVERDUE, Batch, Outcome
from kvbm_tiers.nixl_agent import Far, Handle, NixlTransferFailed, Row
from kvbm_tiers.nixl_sides import Landing, Side


class Block(NamedTuple):
    """A block of a batch: its place in the job, its slots on either side, and where its bytes are.

    :ivar memory: empty, where the process cannot see them
    """

    at: int
    near_slot: int
    far_slot: int
    address: int
    far: Far
    memory: memoryview = memoryview(b"")


Group = list[Block]


class Flight(ABC):
    """One batch between memory and a far side. A subclass says whose memory, and how blocks are proven there.

    :ivar is_write: whether it goes to the far side
    :ivar waiting: groups of blocks that are to be posted, each as one transfer
    :ivar flying: those that are under way
    """

    def __init__(self, batch: Batch, side: Side, *, is_write: bool, device: int = 0) -> None:
        """Take a batch; `device` is the number by which NIXL knows the memory's GPU."""
        self.batch, self.side, self.is_write = batch, side, is_write
        self.waiting, self.flying = deque[Group](), list[tuple[Handle, Group]]()
        self._device = device
        self._outcomes, self._proven = dict[int, Outcome](), dict[int, Outcome]()
        self._failures: dict[int, NixlTransferFailed] = {}
        self._blocks: Group = []

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to transfer."""
        return not self.waiting and not self.flying

    def prepare(self) -> None:
        """Find the blocks' memory, and fill and prove it if they leave. What is to be posted then waits."""
        for place, at in enumerate(self.batch.blocks):
            near_slot, far_slot = self.batch.job.source_slots[at], self.batch.job.slots[at]
            if not self.is_write:
                near_slot, far_slot = far_slot, near_slot
            try:
                self._blocks.append(self._find(place, at, near_slot, far_slot))
            except Exception as error:  # noqa: BLE001 - one block's trouble must not end the others'
                self._outcomes[at] = Outcome(reason=reason_of(error))
        self._proven = self._depart(self._blocks)
        self._outcomes |= {at: proven for at, proven in self._proven.items() if proven.reason}
        self._blocks = [block for block in self._blocks if block.at not in self._outcomes]
        size = self.side.blocks_max
        self.waiting.extend(self._blocks[first : first + size] for first in range(0, len(self._blocks), size))

    def rows(self, group: Group) -> tuple[list[Row], list[Far]]:
        """Memory and far side of a transfer."""
        return [(block.address, self.side.size, self._device) for block in group], [block.far for block in group]

    def fail(self, group: Group, error: NixlTransferFailed) -> None:
        """A transfer is over and failed: its blocks go again one by one, so that only those fail that must."""
        if len(group) > 1:
            self.waiting.extend([block] for block in group)
        else:
            self._failures[group[0].at] = error

    def settle(self) -> list[Outcome]:
        """Look whether it arrived, prove what came, bring it to its place; what became of each, in the batch's order.

        Nothing of a batch that was given up meanwhile.
        """
        arrived = [block for block in self._blocks if self._has_landed(block)]
        self._outcomes |= self._land(arrived)
        return [] if self.batch.is_given_up else [self._outcomes[at] for at in self.batch.blocks]

    @abstractmethod
    def _find(self, place: int, at: int, near_slot: int, far_slot: int) -> Block:
        """Where a block lies, or is to lie, while it is under way. Raises what forbids to use its slots."""

    @abstractmethod
    def _depart(self, blocks: Sequence[Block]) -> dict[int, Outcome]:
        """What comes before a transfer. Of all blocks that leave, the checksum, or why not; of others only what fails already."""

    @abstractmethod
    def _land(self, blocks: Sequence[Block]) -> dict[int, Outcome]:
        """Of blocks whose transfer is over, the checksum; those that came are proven first, and brought to their place if good."""

    def _has_landed(self, block: Block) -> bool:
        is_wanted = not self.batch.is_given_up
        landing = Landing(block.far_slot, block.memory, self._failures.get(block.at), self.is_write, is_wanted)
        if flaw := self.side.settle(landing) or ("" if is_wanted else OVERDUE):
            self._outcomes[block.at] = Outcome(reason=flaw)
        return not flaw
