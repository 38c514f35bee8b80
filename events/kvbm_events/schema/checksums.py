"""Checksums of blocks' bytes: xxh3-64, 16 lower-case hex digits each, in their columnar form one after the other."""

from __future__ import annotations

CHECKSUM_DIGITS = 16
UNKNOWN_CHECKSUM = "0" * CHECKSUM_DIGITS
"""Stands where one is not known. A block that has it is not verified: one in 2^64 does."""
_NO_DIGITS = {ord(digit): None for digit in "0123456789abcdef"}


def are_checksums(packed: str, count: int) -> bool:
    """Whether it is one for each of `count` blocks, or empty, where none is known."""
    return len(packed) in {0, CHECKSUM_DIGITS * count} and not packed.translate(_NO_DIGITS)


def unpack_checksums(packed: str, count: int) -> list[str]:
    """One a block, empty for those that are not known."""
    if not packed:
        return [""] * count
    sums = [packed[at : at + CHECKSUM_DIGITS] for at in range(0, len(packed), CHECKSUM_DIGITS)]
    return ["" if each == UNKNOWN_CHECKSUM else each for each in sums]
