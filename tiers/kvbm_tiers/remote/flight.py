"""A batch on its way to or from a memory host: whoever gets its bytes proves them."""

from __future__ import annotations

from xxhash import xxh3_64_hexdigest

from kvbm_tiers.flight import Block, Group
from kvbm_tiers.host_flight import HostFlight
from kvbm_tiers.job_book import Batch, Outcome
from kvbm_tiers.memory import address_of
from kvbm_tiers.mover import CORRUPT
from kvbm_tiers.nixl_agent import Far
from kvbm_tiers.nixl_sides import Landing
from kvbm_tiers.remote.messages import BLOCKS_MAX
from kvbm_tiers.remote.session import Session
from kvbm_tiers.store import Store

DIFFERS = "came with other bytes than it was sent with"


class HostSide:
    """See `Side`: the slots of a host, whose addresses a session knows."""

    blocks_max = BLOCKS_MAX

    def __init__(self, remote: Store) -> None:
        self.size = remote.layout.block_bytes
        self._remote = remote

    def far(self, slot: int) -> Far:
        """See `Side.far`."""
        self._remote.view(slot)  # which refuses one that is not there
        return Far(slot, self.size)

    def prepare(self, slot: int, memory: memoryview, *, is_write: bool) -> None:
        """See `Side.prepare`. Memory needs nothing."""

    def settle(self, landing: Landing) -> str:  # noqa: ARG002 - what arrived is proven
        """See `Side.settle`. A transfer that failed took its session with it."""
        return ""


class RemoteFlight(HostFlight):
    """One batch between a store here and a host's memory."""

    def __init__(self, batch: Batch, near: Store, far: Store, *, is_write: bool, bounce: memoryview) -> None:
        super().__init__(batch, near, HostSide(far), is_write=is_write, bounce=bounce)
        self._here, self._there = dict[int, str](), dict[int, str]()

    def fly(self, session: Session) -> list[Outcome]:
        """Move it; what became of each block, in the batch's order.

        Raises:
            SessionOver: what of it arrived is not known, nor whether more of it will be written.
        """
        self.prepare()
        while self.waiting:
            group = self.waiting.popleft()
            (self._push if self.is_write else self._pull)(session, group)
        return self.settle()

    def _push(self, session: Session, group: Group) -> None:
        slots = [block.far_slot for block in group]
        session.push(slots, [address_of(block.memory) for block in group])
        self._there |= zip((block.at for block in group), session.prove(slots), strict=True)

    def _pull(self, session: Session, group: Group) -> None:
        session.pull([block.far_slot for block in group], [address_of(block.memory) for block in group])
        self._here |= {block.at: xxh3_64_hexdigest(block.memory[: self.side.size]) for block in group}
        unsure = [block for block in group if self._here[block.at] != self.batch.job.checksum(block.at)]
        if unsure:  # the host says whether its block is another one, or has changed on its way
            proofs = session.prove([block.far_slot for block in unsure])
            self._there |= zip((block.at for block in unsure), proofs, strict=True)

    def _settle(self, block: Block) -> Outcome:
        if self.is_write:
            proven = self._proven[block.at]
            return proven if proven.checksum == self._there[block.at] else Outcome(reason=DIFFERS)
        here = self._here[block.at]
        there = self._there.get(block.at, here)
        if self.batch.job.checksum(block.at) not in {there, ""}:
            return Outcome(reason=CORRUPT)
        return Outcome(reason=DIFFERS) if here != there else self._bring(block, Outcome(checksum=here))
