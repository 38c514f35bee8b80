"""A batch between a GPU's memory and disk that does not pass the host: hashed on the device before it leaves and after it came.

A block that lies in one piece of whole pages goes from and to its slot. Others are gathered into a bay, and scattered from there.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_tiers.block_move import compare, reason_of
from kvbm_tiers.cuda.bay import Bay
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.flight import Block, Flight
from kvbm_tiers.job_book import Batch, Outcome
from kvbm_tiers.nixl_sides import Side
from kvbm_tiers.store import check_slot


class DeviceFlight(Flight):
    """See `Flight`."""

    def __init__(self, batch: Batch, device: CudaDevice, side: Side, *, is_write: bool, bay: Bay) -> None:
        super().__init__(batch, side, is_write=is_write, device=device.driver.index)
        self._near, self._bay = device, bay

    def _find(self, place: int, at: int, near_slot: int, far_slot: int) -> Block:
        check_slot(near_slot, self._near.capacity)
        far = self.side.far(far_slot)
        return Block(at, near_slot, far_slot, self._near.pool.whole(near_slot) or self._bay.place(place), far)

    def _depart(self, blocks: Sequence[Block]) -> dict[int, Outcome]:
        try:
            slots, places = self._staged(blocks)
            if self.is_write and slots:
                self._bay.gather(slots, places, self._near.marked)
            elif len(slots) < len(blocks):
                # Slots are read or written in place: not before the engine is done with them.
                self._bay.wait(self._near.marked)
            return self._prove(blocks) if self.is_write else {}
        except Exception as error:  # noqa: BLE001 - blocks that failed in an unknown way have failed, and the lane goes on
            return {block.at: Outcome(reason=reason_of(error)) for block in blocks}

    def _land(self, blocks: Sequence[Block]) -> dict[int, Outcome]:
        if self.is_write:
            return {block.at: self._proven[block.at] for block in blocks}
        try:
            proven = self._prove(blocks)
            slots, places = self._staged([block for block in blocks if not proven[block.at].reason])
            if slots:
                self._bay.scatter(slots, places, self._near.marked)
        except Exception as error:  # noqa: BLE001 - the same
            return {block.at: Outcome(reason=reason_of(error)) for block in blocks}
        return proven

    def _staged(self, blocks: Sequence[Block]) -> tuple[list[int], list[int]]:
        """Slots and places of those that are not where they are to be."""
        staged = [block for block in blocks if block.address != self._near.pool.whole(block.near_slot)]
        return [block.near_slot for block in staged], [block.address for block in staged]

    def _prove(self, blocks: Sequence[Block]) -> dict[int, Outcome]:
        if not blocks:
            return {}
        found = self._bay.checksums([block.address for block in blocks])
        return {
            block.at: compare(checksum, self.batch.job.checksum(block.at))
            for block, checksum in zip(blocks, found, strict=True)
        }
