"""A batch on its way through NIXL: its blocks in memory, hashed before they go to disk and after they came from there."""

from __future__ import annotations

import os
from collections import deque
from typing import Any, NamedTuple

from kvbm_tiers.block_move import prove, reason_of
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.job_book import Batch, Outcome
from kvbm_tiers.memory import address_of
from kvbm_tiers.mover import CORRUPT
from kvbm_tiers.nixl_agent import NixlTransferFailed, Row
from kvbm_tiers.store import Store


class _Block(NamedTuple):
    at: int
    near_slot: int
    memory: memoryview
    offset: int


class Flight:
    """One batch between memory and a slab. Blocks that do not lie packed in memory go over a bounce.

    :ivar handle: of the transfer that is under way
    :ivar outcomes: of blocks that are over, by their place in the job
    """

    def __init__(self, batch: Batch, near: Store, slab: DiskSlab, bounce: memoryview) -> None:
        self.batch, self.near, self.slab = batch, near, slab
        self.is_write = not batch.job.is_onboard
        self.handle: Any = None
        self.outcomes: dict[int, Outcome] = {}
        self._bounce, self._proven = bounce, dict[int, Outcome]()
        self._blocks: list[_Block] = []
        self._groups = deque[list[_Block]]()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to transfer."""
        return not self._groups

    def prepare(self) -> None:
        """Find the blocks' memory, and fill and hash it if they go to disk."""
        for place, at in enumerate(self.batch.blocks):
            try:
                if block := self._prepare(place, at):
                    self._blocks.append(block)
            except Exception as error:  # noqa: BLE001 - one block's trouble must not end the others'
                self.outcomes[at] = Outcome(reason=reason_of(error))
        if self._blocks:
            self._groups.append(self._blocks)

    def rows(self) -> tuple[list[Row], list[Row]]:
        """Memory and file of the next transfer."""
        size, group = self.near.layout.slot_bytes, self._groups[0]
        return (
            [(address_of(block.memory), size, 0) for block in group],
            [(block.offset, size, self.slab.fd) for block in group],
        )

    def land(self) -> None:
        """The transfer is over."""
        self._groups.popleft()

    def fail(self, error: NixlTransferFailed) -> None:
        """The transfer is over and failed: its blocks go again one by one, so that only those fail that must."""
        group = self._groups.popleft()
        if len(group) > 1:
            self._groups.extendleft([block] for block in reversed(group))
            return
        self.outcomes[group[0].at] = Outcome(reason=self._why_failed(group[0], error))

    def settle(self) -> list[Outcome]:
        """Hash what came from disk and bring it to its place; what became of each block, in the batch's order."""
        for block in self._blocks:
            if block.at not in self.outcomes:
                self.outcomes[block.at] = self._settle(block)
        return [self.outcomes[at] for at in self.batch.blocks]

    def _prepare(self, place: int, at: int) -> _Block | None:
        job, size = self.batch.job, self.near.layout.slot_bytes
        near_slot, far_slot = job.source_slots[at], job.slots[at]
        if not self.is_write:
            near_slot, far_slot = far_slot, near_slot
        here, offset = self.near.view(near_slot), self.slab.offset(far_slot)
        memory = here or self._bounce[place * size : (place + 1) * size]
        if self.is_write:
            if not here:
                self.near.read(near_slot, memory)
            proven = self._prove(memory, at)
            if proven.reason:
                self.outcomes[at] = proven
                return None
            self._proven[at] = proven
        return _Block(at, near_slot, memory, offset)

    def _settle(self, block: _Block) -> Outcome:
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

    def _why_failed(self, block: _Block, error: NixlTransferFailed) -> str:
        """NIXL does not say; the file and its file system may."""
        try:
            found, room = os.fstat(self.slab.fd), os.fstatvfs(self.slab.fd)
        except OSError as unknown:
            return reason_of(unknown)
        if self.is_write and not room.f_bavail:
            return "ENOSPC: No space left on device"
        size = self.near.layout.slot_bytes
        if not self.is_write and found.st_size < block.offset + size:
            self.slab.report_cut(block.offset // size)
            return CORRUPT
        return f"NIXL: {error}"
