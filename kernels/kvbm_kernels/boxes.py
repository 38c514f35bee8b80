"""Where the bytes of a block lie in a pool and in packed memory: the boxes of `cuda/block_copy.cuh`, and their bytes.

A pool is addressed by slot. All addresses are whole numbers: of host memory for the CPU, of device memory for a GPU.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

BLOCKS_MAX = 256
"""Blocks in one launch; the same in `block_copy.cuh`."""
BLOCKS_BYTES = BLOCKS_MAX * (8 + 4)
TILE_BYTES = 16 << 10
"""A box is cut into such pieces for a GPU: 256 threads with four 16-byte loads each."""
_BOX = struct.Struct("<3Q4I")
_ROW_BYTES_MAX = (1 << 32) - 1


class Box(NamedTuple):
    """`rows` runs of `row_bytes`, which lie `pool_stride` and `packed_stride` bytes apart.

    :ivar base: address in the pool, for slot 0
    :ivar slot_stride: bytes from slot to slot
    :ivar place: offset in the packed block
    """

    base: int
    slot_stride: int
    place: int
    rows: int
    row_bytes: int
    pool_stride: int = 0
    packed_stride: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.rows * self.row_bytes


def run(base: int, slot_stride: int, place: int, size: int) -> Box:
    """A box of one row."""
    return Box(base, slot_stride, place, 1, size)


def joined(boxes: Iterable[Box]) -> Iterator[Box]:
    """The same, with rows as one where one begins behind the other's end on both sides."""
    last: Box | None = None
    for box in map(_flat, boxes):
        if last and _continues(last, box):
            last = last._replace(row_bytes=last.row_bytes + box.row_bytes)
            continue
        if last:
            yield last
        last = box
    if last:
        yield last


def tiled(boxes: Iterable[Box], tile_bytes: int = TILE_BYTES) -> Iterator[Box]:
    """The same, in boxes of at most about `tile_bytes`: a row is cut, and rows are dealt out."""
    for box in boxes:
        if box.rows == 1:
            for start in range(0, box.row_bytes, tile_bytes):
                size = min(tile_bytes, box.row_bytes - start)
                yield run(box.base + start, box.slot_stride, box.place + start, size)
            continue
        together = max(1, tile_bytes // box.row_bytes)
        for row in range(0, box.rows, together):
            yield box._replace(
                base=box.base + row * box.pool_stride,
                place=box.place + row * box.packed_stride,
                rows=min(together, box.rows - row),
            )


class BoxTable:
    """Boxes as a kernel reads them.

    :ivar data: their bytes; on the CPU a kernel reads them in place, a GPU has a copy
    :ivar block_bytes: of a packed block, as far as these boxes reach
    """

    def __init__(self, boxes: Iterable[Box]) -> None:
        """Take boxes.

        Raises:
            ValueError: there is none, or one is empty or of 4 GiB and more.
        """
        self.boxes = tuple(boxes)
        if not self.boxes or any(not 0 < box.size <= _ROW_BYTES_MAX for box in self.boxes):
            raise ValueError("a table has boxes, each with bytes, and with less than 4 GiB")
        self.data = b"".join(_BOX.pack(*box) for box in self.boxes)
        self.block_bytes = max(box.place + (box.rows - 1) * box.packed_stride + box.row_bytes for box in self.boxes)

    def __len__(self) -> int:
        return len(self.boxes)


def launches(packed: Sequence[int], slots: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """How many blocks, and the bytes of `Blocks` that say which: one for each launch.

    Args:
        packed: address of each packed block
        slots: of each, in the pool

    Raises:
        ValueError: there are not as many of the one as of the other.
    """
    if len(packed) != len(slots):
        raise ValueError(f"{len(packed)} packed blocks and {len(slots)} slots")
    for start in range(0, len(slots), BLOCKS_MAX):
        some, count = slots[start : start + BLOCKS_MAX], min(BLOCKS_MAX, len(slots) - start)
        data = bytearray(BLOCKS_BYTES)
        struct.pack_into(f"<{count}Q", data, 0, *packed[start : start + BLOCKS_MAX])
        struct.pack_into(f"<{count}I", data, BLOCKS_MAX * 8, *some)
        yield count, bytes(data)


def _flat(box: Box) -> Box:
    """Rows without a gap on either side are one row."""
    if box.rows > 1 and box.pool_stride == box.packed_stride == box.row_bytes:
        return run(box.base, box.slot_stride, box.place, box.size)
    return box


def _continues(one: Box, other: Box) -> bool:
    return (
        one.rows == other.rows == 1
        and one.slot_stride == other.slot_stride
        and one.base + one.row_bytes == other.base
        and one.place + one.row_bytes == other.place
    )
