"""Where the bytes of a layout's blocks lie in a pool's memory: the boxes that a kernel copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvbm_kernels import Box, joined, run
from kvbm_tiers.layout import Group, Layout


class PoolArray(NamedTuple):
    """One array of a pool, in host or device memory.

    :ivar strides: bytes from one to the next of `(outer, slots)`, or of `(slots, layers, outer)` where the group is
        contiguous; a page is always in one piece
    """

    address: int
    strides: tuple[int, ...]


class _Page(NamedTuple):
    layer: int
    outer: int
    base: int
    slot_stride: int


def dense(layout: Layout, capacity: int, addresses: Sequence[int]) -> list[PoolArray]:
    """The arrays of `layout.arrays(capacity)`, without gaps, at these addresses."""
    arrays = zip(layout.groups_of_arrays(capacity), addresses, strict=True)
    return [PoolArray(address, array.strides[: -len(group.page)]) for (group, array), address in arrays]


def boxes_of(layout: Layout, arrays: Sequence[PoolArray]) -> list[Box]:
    """The boxes of a block, in few and large ones where bytes lie one behind the other on both sides.

    Args:
        layout: which order the bytes of a packed block have
        arrays: the pool's, one for each of `layout.arrays`
    """
    found, first, place = list[Box](), 0, 0
    for group in layout.groups:
        count = 1 if group.arrangement == "contiguous" else group.layers
        pages = _pages(group, arrays[first : first + count])
        found += joined(
            _universal(group, pages, place) if layout.packing == "universal" else _layered(group, pages, place)
        )
        first, place = first + count, place + group.block_bytes
    return found


def _pages(group: Group, arrays: Sequence[PoolArray]) -> Iterator[_Page]:
    for layer in range(group.layers):
        for outer in range(group.outer):
            if group.arrangement == "contiguous":
                address, (slots, layers, outers) = arrays[0]
                yield _Page(layer, outer, address + layer * layers + outer * outers, slots)
            else:
                address, (outers, slots) = arrays[layer]
                yield _Page(layer, outer, address + outer * outers, slots)


def _layered(group: Group, pages: Iterator[_Page], place: int) -> Iterator[Box]:
    for layer, outer, base, slot_stride in pages:
        number = layer * group.outer + outer
        yield run(base, slot_stride, place + number * group.page_bytes, group.page_bytes)


def _universal(group: Group, pages: Iterator[_Page], place: int) -> Iterator[Box]:
    row, head_bytes = group.row_bytes, group.tokens * group.row_bytes
    for layer, outer, base, slot_stride in pages:
        for head in range(group.heads):
            there = place + ((head * group.layers + layer) * group.outer + outer) * head_bytes
            if group.order == "NHD":
                yield Box(base + head * row, slot_stride, there, group.tokens, row, group.heads * row, row)
            else:
                yield run(base + head * head_bytes, slot_stride, there, head_bytes)
