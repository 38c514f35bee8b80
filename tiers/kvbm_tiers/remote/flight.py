"""A batch on its way to or from a host: its blocks in memory here, hashed before they go and after they came."""

from __future__ import annotations

from typing import NamedTuple

from xxhash import xxh3_64_hexdigest

from kvbm_tiers.block_move import prove, reason_of
from kvbm_tiers.job_book import Batch, Outcome
from kvbm_tiers.memory import address_of
from kvbm_tiers.mover import CORRUPT
from kvbm_tiers.remote.session import Session
from kvbm_tiers.store import Store

DIFFERS = "came with other bytes than it was sent with"


class _Block(NamedTuple):
    at: int
    near_slot: int
    far_slot: int
    memory: memoryview


class RemoteFlight:
    """One batch between a store here and a host's memory. Blocks that do not lie packed in memory go over a bounce.

    :ivar is_push: whether it goes to the host
    """

    def __init__(self, batch: Batch, near: Store, far: Store, bounce: memoryview, *, is_push: bool) -> None:
        self.batch, self.is_push = batch, is_push
        self._near, self._far, self._bounce = near, far, bounce
        self._blocks: list[_Block] = []
        self._outcomes: dict[int, Outcome] = {}

    def fly(self, session: Session) -> list[Outcome]:
        """Move it; what became of each block, in the batch's order.

        Raises:
            SessionOver: what of it arrived is not known, nor whether more of it will be written.
        """
        for place, at in enumerate(self.batch.blocks):
            self._attempt(at, place)
        if self._blocks:
            (self._push if self.is_push else self._pull)(session)
        return [self._outcomes[at] for at in self.batch.blocks]

    def _attempt(self, at: int, place: int) -> None:
        try:
            self._prepare(at, place)
        except Exception as error:  # noqa: BLE001 - one block's trouble must not end the others'
            self._outcomes[at] = Outcome(reason=reason_of(error))

    def _prepare(self, at: int, place: int) -> None:
        """Find a block's memory, and fill and hash it if it goes to the host."""
        job, size = self.batch.job, self._near.layout.slot_bytes
        near_slot, far_slot = (job.source_slots[at], job.slots[at])[:: 1 if self.is_push else -1]
        here = self._near.view(near_slot)
        self._far.view(far_slot)  # which refuses one that is not there
        memory = here or self._bounce[place * size : (place + 1) * size]
        if self.is_push:
            if not here:
                self._near.read(near_slot, memory)
            proven = prove(memory[: self._near.layout.block_bytes], job.checksum(at))
            self._outcomes[at] = proven
            if proven.reason:
                return
        self._blocks.append(_Block(at, near_slot, far_slot, memory))

    def _push(self, session: Session) -> None:
        slots = [block.far_slot for block in self._blocks]
        session.push(slots, [address_of(block.memory) for block in self._blocks])
        for block, there in zip(self._blocks, session.prove(slots), strict=True):
            if there != self._outcomes[block.at].checksum:
                self._outcomes[block.at] = Outcome(reason=DIFFERS)

    def _pull(self, session: Session) -> None:
        size = self._near.layout.block_bytes
        session.pull([block.far_slot for block in self._blocks], [address_of(block.memory) for block in self._blocks])
        found = {block.at: xxh3_64_hexdigest(block.memory[:size]) for block in self._blocks}
        unsure = [block for block in self._blocks if found[block.at] != self.batch.job.checksum(block.at)]
        proofs = session.prove([block.far_slot for block in unsure]) if unsure else []
        there = found | {block.at: proof for block, proof in zip(unsure, proofs, strict=True)}
        for block in self._blocks:
            self._outcomes[block.at] = self._land(block, found[block.at], there[block.at])

    def _land(self, block: _Block, found: str, there: str) -> Outcome:
        """Compare a block with what the host has, and that with what it must be, and bring it to its place."""
        if self.batch.job.checksum(block.at) not in {there, ""}:
            return Outcome(reason=CORRUPT)
        if found != there:
            return Outcome(reason=DIFFERS)
        try:
            if not self._near.view(block.near_slot):
                self._near.write(block.near_slot, block.memory)
        except Exception as error:  # noqa: BLE001 - a block that failed in an unknown way has failed
            return Outcome(reason=reason_of(error))
        return Outcome(checksum=found)
