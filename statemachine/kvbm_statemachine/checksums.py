"""What is known of the bytes in a tier's slots: a checksum a block, from the event of its arrival."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import CHECKSUM_DIGITS, Runs

_BYTES = CHECKSUM_DIGITS // 2
_UNKNOWN = bytes(_BYTES)


class Checksums:
    """xxh3-64 by slot, zeros where it is unknown. It takes no memory until the first one is known.

    :ivar packed: eight bytes a slot, or none at all
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.packed = bytearray()

    def put(self, slots: Sequence[int], digits: str) -> None:
        """Note the checksums of blocks that arrived, 16 hex digits each."""
        sums = bytes.fromhex(digits)
        if not self.packed:
            self.packed = bytearray(self._capacity * _BYTES)
        for at, slot in enumerate(slots):
            self.packed[slot * _BYTES : (slot + 1) * _BYTES] = sums[at * _BYTES : (at + 1) * _BYTES]

    def of(self, slots: Sequence[int]) -> str:
        """16 hex digits a slot, zeros where unknown; empty if none of them is known."""
        packed = self.packed
        if not packed:
            return ""
        digits = b"".join([packed[slot * _BYTES : (slot + 1) * _BYTES] for slot in slots]).hex()
        return digits if digits.strip("0") else ""

    def clear(self, runs: Runs) -> None:
        """Forget the blocks in these slots."""
        if self.packed:
            for first, count in runs:
                self.packed[first * _BYTES : (first + count) * _BYTES] = _UNKNOWN * count

    def known(self) -> list[int]:
        """Slots whose checksum is known."""
        return [slot for slot, value in enumerate(memoryview(self.packed).cast("Q")) if value]

    def restore(self, packed: bytes) -> None:
        """Take over those of a snapshot.

        Raises:
            ValueError: they are not eight bytes for each slot, nor none.
        """
        if len(packed) not in {0, self._capacity * _BYTES}:
            raise ValueError(f"{len(packed)} bytes of checksums for {self._capacity} slots")
        self.packed = bytearray(packed)
