"""xxh3-64 of blocks as `cuda/block_hash.cuh` makes it: which blocks it is given, and the checksum of the sums that it leaves.

The kernel does what takes time, eight sums over the whole of a block. They become one number here, of 64 bytes a block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

HASHED_MAX = 256
"""Blocks in one launch; the same in `block_hash.cuh`."""
HASHED_BYTES = HASHED_MAX * 8
SUM_BYTES = 64
"""Of a block's eight sums."""
BLOCK_BYTES_MIN = 241
"""Shorter blocks are hashed in another way, which the kernel has not."""
LANES = 8
"""Threads for a block."""
_MERGE_SECRET = (
    0x6DD4DE1CAD21F72C,
    0xA44072DB979083E9,
    0xE679CB1F67B3B7A4,
    0xD05A8278E5C0CC4E,
    0x4608B82172FFCC7D,
    0x9035E08E2443F774,
    0x52283C4C263A81E6,
    0x65D088CB00C391BB,
)
"""The default secret's words from its eleventh byte on."""
_PRIME_1, _PRIME_AVALANCHE = 0x9E3779B185EBCA87, 0x165667919E3779F9
_MASK = (1 << 64) - 1
_SUMS = struct.Struct("<8Q")


def launches(blocks: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """How many blocks, and the bytes of `Hashed` that say where they lie: one for each launch."""
    for start in range(0, len(blocks), HASHED_MAX):
        some = blocks[start : start + HASHED_MAX]
        data = bytearray(HASHED_BYTES)
        struct.pack_into(f"<{len(some)}Q", data, 0, *some)
        yield len(some), bytes(data)


def checksums(sums: bytes, block_bytes: int) -> list[str]:
    """The checksum of each block, 16 hex digits, as `xxhash.xxh3_64_hexdigest` has it.

    Args:
        sums: `SUM_BYTES` a block
        block_bytes: of each
    """
    return [f"{_merge(words, block_bytes):016x}" for words in _SUMS.iter_unpack(sums)]


def _merge(words: Sequence[int], block_bytes: int) -> int:
    found = block_bytes * _PRIME_1
    for at in range(0, LANES, 2):
        product = (words[at] ^ _MERGE_SECRET[at]) * (words[at + 1] ^ _MERGE_SECRET[at + 1])
        found += (product & _MASK) ^ (product >> 64)
    found &= _MASK
    found ^= found >> 37
    found = found * _PRIME_AVALANCHE & _MASK
    return found ^ (found >> 32)
