"""A batch on its way through NIXL: its blocks in memory, hashed before they leave it and after they came there."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from kvbm_tiers.block_move import prove, reason_of
from kvbm_tiers.job_book import OVERDUE, Batch, Outcome
from kvbm_tiers.memory import address_of
from kvbm_tiers.nixl_agent import Far, Handle, NixlTransferFailed, Row
from kvbm_tiers.nixl_sides import Landing, Side
from kvbm_tiers.store import Store


class _Block(NamedTuple):
    at: int
    near_slot: int
    far_slot: int
    memory: memoryview
    far: Far


Group = list[_Block]


class Flight:
    """One batch between memory and a far side. Blocks that do not lie packed in memory go over a bounce.

    :ivar is_write: whether it goes to the far side
    :ivar waiting: groups of blocks that are to be posted, each as one transfer
    :ivar flying: those that are under way
    """

    def __init__(self, batch: Batch, near: Store, side: Side, *, is_write: bool, bounce: memoryview) -> None:
        self.batch, self.near, self.side, self.is_write = batch, near, side, is_write
        self.waiting, self.flying = deque[Group](), list[tuple[Handle, Group]]()
        self._bounce = bounce
        self._outcomes, self._proven = dict[int, Outcome](), dict[int, Outcome]()
        self._blocks: Group = []
        self._failures: dict[int, NixlTransferFailed] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to transfer."""
        return not self.waiting and not self.flying

    def prepare(self) -> None:
        """Find the blocks' memory, and fill and hash it if they leave."""
        for place, at in enumerate(self.batch.blocks):
            try:
                if block := self._prepare(place, at):
                    self._blocks.append(block)
            except Exception as error:  # noqa: BLE001 - one block's trouble must not end the others'
                self._outcomes[at] = Outcome(reason=reason_of(error))
        size = self.side.blocks_max
        self.waiting.extend(self._blocks[first : first + size] for first in range(0, len(self._blocks), size))

    def rows(self, group: Group) -> tuple[list[Row], list[Far]]:
        """Memory and far side of a transfer."""
        return [(address_of(block.memory), self.side.size, 0) for block in group], [block.far for block in group]

    def fail(self, group: Group, error: NixlTransferFailed) -> None:
        """A transfer is over and failed: its blocks go again one by one, so that only those fail that must."""
        if len(group) > 1:
            self.waiting.extend([block] for block in group)
        else:
            self._failures[group[0].at] = error

    def settle(self) -> list[Outcome]:
        """Look whether it arrived, hash what came, bring it to its place; what became of each, in the batch's order.

        Nothing of a batch that was given up meanwhile.
        """
        for block in self._blocks:
            self._outcomes[block.at] = self._settle(block)
        return [] if self.batch.is_given_up else [self._outcomes[at] for at in self.batch.blocks]

    def _prepare(self, place: int, at: int) -> _Block | None:
        job, size = self.batch.job, self.near.layout.slot_bytes
        near_slot, far_slot = job.source_slots[at], job.slots[at]
        if not self.is_write:
            near_slot, far_slot = far_slot, near_slot
        here, far = self.near.view(near_slot), self.side.far(far_slot)
        memory = here or self._bounce[place * size : (place + 1) * size]
        if self.is_write:
            if not here:
                self.near.read(near_slot, memory)
            proven = self._prove(memory, at)
            if proven.reason:
                self._outcomes[at] = proven
                return None
            self._proven[at] = proven
        self.side.prepare(far_slot, memory, is_write=self.is_write)
        return _Block(at, near_slot, far_slot, memory, far)

    def _settle(self, block: _Block) -> Outcome:
        is_wanted = not self.batch.is_given_up
        landing = Landing(block.far_slot, block.memory, self._failures.get(block.at), self.is_write, is_wanted)
        if flaw := self.side.settle(landing):
            return Outcome(reason=flaw)
        if not is_wanted:
            return Outcome(reason=OVERDUE)
        if self.is_write:
            return self._proven[block.at]
        proven = self._prove(block.memory, block.at)
        try:
            if not proven.reason and not self.near.view(block.near_slot):
                self.near.write(block.near_slot, block.memory)
        except Exception as error:  # noqa: BLE001 - a block that failed in an unknown way has failed
            return Outcome(reason=reason_of(error))
        return proven

    def _prove(self, memory: memoryview, at: int) -> Outcome:
        return prove(memory[: self.near.layout.block_bytes], self.batch.job.checksum(at))
