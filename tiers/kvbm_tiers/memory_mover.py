"""A mover within one process: every tier is an array of bytes, a copy is a memcpy, and jobs are done on submission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xxhash import xxh3_64_hexdigest

from kvbm_events.schema import TierName
from kvbm_tiers.mover import Job, Report


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

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:  # noqa: ARG002 - its copies ended with its process
        """See `Mover.begin`."""
        return True

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        sums: list[str] = []
        for source, slot in zip(job.source_slots, job.slots, strict=True):
            target = self.block(job.tier, slot)
            target[:] = self.block(job.source, source)
            sums.append(xxh3_64_hexdigest(target))
        report = Report(transfer=job.transfer, slots=job.slots, length_bytes=self.block_bytes, checksums="".join(sums))
        self._reports.append(report)

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        reports, self._reports = self._reports, []
        return reports

    def close(self) -> None:
        """See `Mover.close`."""
        self._reports.clear()
