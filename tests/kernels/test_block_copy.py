"""The kernel's source, run on the CPU: any boxes, any alignment, any grid, against numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvbm_kernels import Box, BoxTable, tiled
from kvbm_kernels.boxes import BLOCKS_MAX
from support.kernels import HOST_KERNELS, cpu_kernel, host_kernel_of

SLOTS = 7
FILLER = 0xEE


class Shape(NamedTuple):
    """A box and the gaps around it."""

    rows: int
    row_bytes: int
    pool_gap: int
    packed_gap: int
    pool_before: int
    packed_before: int


shapes = st.builds(
    Shape,
    rows=st.integers(1, 5),
    row_bytes=st.one_of(st.integers(1, 70), st.sampled_from([16, 32, 64, 128, 256, 528, 2048])),
    pool_gap=st.sampled_from([0, 0, 1, 2, 4, 8, 16, 48]),
    packed_gap=st.sampled_from([0, 0, 3, 8, 16]),
    pool_before=st.sampled_from([0, 0, 1, 2, 4, 8, 13, 16]),
    packed_before=st.sampled_from([0, 0, 1, 2, 4, 8, 13, 16]),
)
grids = st.tuples(st.sampled_from([1, 2, 5]), st.sampled_from([1, 2, 3, 32, 33]))


class Field:
    """A pool and packed blocks around some shapes: memory that is exactly as large as they need."""

    def __init__(self, shapes: list[Shape], count: int, seed: int) -> None:
        chance = np.random.default_rng(seed)
        pool_at = packed_at = 0
        spans = []
        for shape in shapes:
            pool_stride, packed_stride = shape.row_bytes + shape.pool_gap, shape.row_bytes + shape.packed_gap
            pool_at, packed_at = pool_at + shape.pool_before, packed_at + shape.packed_before
            spans.append((pool_at, packed_at, shape, pool_stride, packed_stride))
            pool_at += (shape.rows - 1) * pool_stride + shape.row_bytes
            packed_at += (shape.rows - 1) * packed_stride + shape.row_bytes
        self.pool = chance.integers(0, 256, (SLOTS, pool_at), np.uint8)
        self.packed = chance.integers(0, 256, (count, packed_at), np.uint8)
        self.slots = [int(slot) for slot in chance.permutation(SLOTS)[:count]]
        self.boxes = [
            Box(self.pool.ctypes.data + there, pool_at, here, shape.rows, shape.row_bytes, pool_stride, packed_stride)
            for there, here, shape, pool_stride, packed_stride in spans
        ]
        self.addresses = [self.packed.ctypes.data + number * packed_at for number in range(count)]
        starts = [
            (there + row * ps, here + row * ks, shape.row_bytes)
            for there, here, shape, ps, ks in spans
            for row in range(shape.rows)
        ]
        self.pool_bytes = np.concatenate([np.arange(there, there + size) for there, _, size in starts])
        self.packed_bytes = np.concatenate([np.arange(here, here + size) for _, here, size in starts])


fields = st.builds(
    Field, shapes=st.lists(shapes, min_size=1, max_size=4), count=st.integers(1, 4), seed=st.integers(0, 99)
)


@given(fields, grids, st.booleans())
def test_gather_fills_the_boxes_of_packed_blocks_and_nothing_else(field, grid, cut):
    before = field.pool.copy()
    want = field.packed.copy()
    want[:, field.packed_bytes] = field.pool[field.slots][:, field.pool_bytes]
    table = BoxTable(tiled(field.boxes, 48) if cut else field.boxes)
    cpu_kernel().copy_blocks(table, field.addresses, field.slots, to_pool=False, grid=grid[0], threads=grid[1])
    assert np.array_equal(field.packed, want)
    assert np.array_equal(field.pool, before)


@given(fields, grids, st.booleans())
def test_scatter_fills_the_boxes_of_the_pools_slots_and_nothing_else(field, grid, cut):
    before = field.packed.copy()
    want = field.pool.copy()
    for number, slot in enumerate(field.slots):
        want[slot, field.pool_bytes] = field.packed[number, field.packed_bytes]
    table = BoxTable(tiled(field.boxes, 48) if cut else field.boxes)
    cpu_kernel().copy_blocks(table, field.addresses, field.slots, to_pool=True, grid=grid[0], threads=grid[1])
    assert np.array_equal(field.pool, want)
    assert np.array_equal(field.packed, before)


@given(fields)
def test_without_a_compiler_the_same_bytes_are_copied(field):
    compiled = field.packed.copy()
    addresses = [compiled.ctypes.data + number * compiled.shape[1] for number in range(len(field.slots))]
    cpu_kernel().copy_blocks(BoxTable(field.boxes), addresses, field.slots, to_pool=False)
    host_kernel_of("plain").copy_blocks(BoxTable(field.boxes), field.addresses, field.slots, to_pool=False)
    assert np.array_equal(field.packed, compiled)


@pytest.mark.parametrize("kind", HOST_KERNELS)
def test_more_blocks_than_one_launch_takes(kind):
    count = 2 * BLOCKS_MAX + 3
    pool = np.random.default_rng(1).integers(0, 256, (count, 24), np.uint8)
    packed = np.zeros((count, 24), np.uint8)
    slots = [int(slot) for slot in np.random.default_rng(2).permutation(count)]
    table = BoxTable([Box(pool.ctypes.data, 24, 0, 1, 24)])
    host_kernel_of(kind).copy_blocks(table, [packed.ctypes.data + 24 * at for at in range(count)], slots, to_pool=False)
    assert np.array_equal(packed, pool[slots])


@pytest.mark.parametrize("kind", HOST_KERNELS)
def test_slots_and_blocks_that_are_not_as_many_are_refused(kind):
    memory = np.zeros(64, np.uint8)
    table = BoxTable([Box(memory.ctypes.data, 8, 0, 1, 8)])
    with pytest.raises(ValueError, match=r"2 packed|longer|shorter"):
        host_kernel_of(kind).copy_blocks(table, [memory.ctypes.data] * 2, [0], to_pool=False)


@given(st.lists(shapes, min_size=1, max_size=3), st.integers(1, 300))
@example([Shape(5, 70, 1, 3, 0, 0)], 69)
def test_tiles_are_the_same_bytes_in_boxes_of_bounded_size(some, tile_bytes):
    field = Field(some, 1, 0)
    cut = list(tiled(field.boxes, tile_bytes))

    def runs(boxes):
        for box in boxes:
            for row in range(box.rows):
                yield box.base + row * box.pool_stride, box.place + row * box.packed_stride, box.row_bytes

    def pairs(boxes):
        return [(there + at, here + at) for there, here, size in runs(boxes) for at in range(size)]

    assert pairs(cut) == pairs(field.boxes)
    assert all(box.size <= max(tile_bytes, box.row_bytes) for box in cut)
    assert all(
        box.row_bytes <= tile_bytes for box in cut if box.rows == 1 and box.row_bytes not in {s.row_bytes for s in some}
    )


@pytest.mark.parametrize("boxes", [[], [Box(0, 0, 0, 0, 8)], [Box(0, 0, 0, 1, 1 << 32)]])
def test_a_table_of_nothing_or_of_too_much_is_refused(boxes):
    with pytest.raises(ValueError, match="a table has boxes"):
        BoxTable(boxes)
