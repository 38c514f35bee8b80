"""A batch between host memory and a far side: its blocks are hashed before they leave memory and after they came there."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_tiers.block_move import prove, reason_of
from kvbm_tiers.flight import Block, Flight
from kvbm_tiers.job_book import Batch, Outcome
from kvbm_tiers.memory import address_of
from kvbm_tiers.nixl_sides import Side
from kvbm_tiers.store import Store


class HostFlight(Flight):
    """See `Flight`. Blocks that do not lie packed in memory go over a bounce."""

    def __init__(self, batch: Batch, near: Store, side: Side, *, is_write: bool, bounce: memoryview) -> None:
        super().__init__(batch, side, is_write=is_write)
        self.near, self._bounce = near, bounce

    def _find(self, place: int, at: int, near_slot: int, far_slot: int) -> Block:
        size = self.near.layout.slot_bytes
        here, far = self.near.view(near_slot), self.side.far(far_slot)
        memory = here or self._bounce[place * size : (place + 1) * size]
        return Block(at, near_slot, far_slot, address_of(memory), far, memory)

    def _depart(self, blocks: Sequence[Block]) -> dict[int, Outcome]:
        outcomes = dict[int, Outcome]()
        for block in blocks:
            try:
                if self.is_write:
                    outcomes[block.at] = self._load(block)
                if block.at not in outcomes or not outcomes[block.at].reason:
                    self.side.prepare(block.far_slot, block.memory, is_write=self.is_write)
            except Exception as error:  # noqa: BLE001 - one block's trouble must not end the others'
                outcomes[block.at] = Outcome(reason=reason_of(error))
        return outcomes

    def _land(self, blocks: Sequence[Block]) -> dict[int, Outcome]:
        return {block.at: self._settle(block) for block in blocks}

    def _settle(self, block: Block) -> Outcome:
        return self._proven[block.at] if self.is_write else self._bring(block, self._prove(block))

    def _load(self, block: Block) -> Outcome:
        if not self.near.view(block.near_slot):
            self.near.read(block.near_slot, block.memory)
        return self._prove(block)

    def _bring(self, block: Block, proven: Outcome) -> Outcome:
        """Bring a block that came over a bounce to its place, if it is good."""
        try:
            if not proven.reason and not self.near.view(block.near_slot):
                self.near.write(block.near_slot, block.memory)
        except Exception as error:  # noqa: BLE001 - a block that failed in an unknown way has failed
            return Outcome(reason=reason_of(error))
        return proven

    def _prove(self, block: Block) -> Outcome:
        return prove(block.memory[: self.near.layout.block_bytes], self.batch.job.checksum(block.at))
