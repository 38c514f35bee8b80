"""A mover within one process: every tier is an array of bytes, a copy is a memcpy, and jobs are done on submission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xxhash import xxh3_64_hexdigest

from kvbm_events.schema import TierName
from kvbm_tiers.mover import CORRUPT, Deletion, Job, Report


class MemoryMover:
    """Tiers as host memory, `block_bytes` a block.

    :ivar arenas: by tier, the bytes of its slots one after the other
    """

    def __init__(self, capacities: Mapping[TierName, int], *, block_bytes: int = 64) -> None:
        self.block_bytes = block_bytes
        self.arenas = {tier: bytearray(capacity * block_bytes) for tier, capacity in capacities.items()}
        self._reports: list[Report] = []

    def block(self, tier: TierName, slot: int) -> memoryview:
        """The bytes of one slot, to read and to write."""
        start = slot * self.block_bytes
        return memoryview(self.arenas[tier])[start : start + self.block_bytes]

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:  # noqa: ARG002 - what it moved ended with its process
        """See `Mover.begin`."""
        return True

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        arrived, corrupt = dict[int, str](), list[int]()
        for at, (source, slot) in enumerate(zip(job.source_slots, job.slots, strict=True)):
            block = self.block(job.source, source)
            checksum = xxh3_64_hexdigest(block)
            if checksum == (job.checksum(at) or checksum):
                self.block(job.tier, slot)[:] = block
                arrived[slot] = checksum
            else:
                corrupt.append(slot)
        if arrived:
            sums, size = "".join(arrived.values()), self.block_bytes
            self._reports.append(Report(transfer=job.transfer, slots=[*arrived], length_bytes=size, checksums=sums))
        if corrupt:
            self._reports.append(Report(transfer=job.transfer, slots=corrupt, reason=CORRUPT))

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        reports, self._reports = self._reports, []
        return reports

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`. There is something to poll as soon as a job was submitted, which needs no word."""

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`. Every job is done when it was submitted."""

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`. A slot is written over."""

    def close(self) -> None:
        """See `Mover.close`."""
        self._reports.clear()
