"""Which bytes of a pool are a block's, and in which order: kernel and boxes against numpy's shapes and strides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_kernels import BoxTable, tiled
from kvbm_tiers.geometry import PoolArray, boxes_of, dense
from kvbm_tiers.layout import Group, Layout
from kvbm_tiers.presets import preset
from support.kernels import HOST_KERNELS, cpu_kernel, host_kernel_of

ITEMS = {"float32": np.uint32, "bfloat16": np.uint16, "int8": np.uint8}
groups = st.builds(
    Group,
    name=st.text(max_size=4),
    layers=st.integers(1, 3),
    outer=st.sampled_from([1, 2]),
    tokens=st.integers(1, 5),
    heads=st.integers(1, 4),
    head_size=st.one_of(st.integers(1, 9), st.sampled_from([16, 64])),
    dtype=st.sampled_from([*ITEMS]),
    order=st.sampled_from(["NHD", "HND"]),
    arrangement=st.sampled_from(["separate", "contiguous"]),
)
layouts = st.builds(
    Layout,
    groups=st.lists(groups, min_size=1, max_size=3, unique_by=lambda group: group.name).map(tuple),
    packing=st.sampled_from(["layered", "universal"]),
)


class Pool:
    """A pool of chance as numpy arrays, `gap` slots apart from the next dimension where there is one."""

    def __init__(self, layout: Layout, capacity: int, seed: int, gap: int = 0) -> None:
        chance = np.random.default_rng(seed)
        self.layout, self.capacity, self.arrays = layout, capacity, []
        for group, array in layout.groups_of_arrays(capacity):
            axis = 0 if group.arrangement == "contiguous" else 1
            shape = [size + (gap if at == axis else 0) for at, size in enumerate(array.shape)]
            item = ITEMS[group.dtype]
            whole = chance.integers(0, np.iinfo(item).max, shape, item)
            self.arrays.append(whole[:, :capacity] if axis else whole[:capacity])

    def placed(self) -> list[PoolArray]:
        return [PoolArray(array.ctypes.data, array.strides[:-3]) for array in self.arrays]

    def block(self, slot: int) -> bytes:
        """The packed block, told by shapes alone."""
        arrays, packed = iter(self.arrays), b""
        for group in self.layout.groups:
            if group.arrangement == "contiguous":
                pages = next(arrays)[slot]
            else:
                pages = np.stack([next(arrays)[:, slot] for _ in range(group.layers)])
            if self.layout.packing == "universal":  # [layers][outer][page] as [heads][layers][outer][tokens][head_size]
                pages = pages.transpose(3, 0, 1, 2, 4) if group.order == "NHD" else pages.transpose(2, 0, 1, 3, 4)
            packed += np.ascontiguousarray(pages).tobytes()
        return packed


@given(layouts, st.integers(1, 4), st.integers(0, 9), st.integers(0, 2), st.booleans())
def test_a_block_is_gathered_in_the_order_that_its_layout_says(layout, capacity, seed, gap, cut):
    pool = Pool(layout, capacity, seed, gap)
    boxes = boxes_of(layout, pool.placed())
    table = BoxTable(tiled(boxes, 40) if cut else boxes)
    packed = np.zeros((capacity, layout.block_bytes), np.uint8)
    assert table.block_bytes == layout.block_bytes
    addresses = [packed.ctypes.data + layout.block_bytes * slot for slot in range(capacity)]
    cpu_kernel().copy_blocks(table, addresses, range(capacity), to_pool=False, grid=3, threads=5)
    assert [row.tobytes() for row in packed] == [pool.block(slot) for slot in range(capacity)]


@given(layouts, st.integers(1, 3), st.integers(0, 9), st.integers(0, 2))
def test_what_was_gathered_is_scattered_to_where_it_was(layout, capacity, seed, gap):
    pool, other = Pool(layout, capacity, seed, gap), Pool(layout, capacity, seed + 1, gap)
    packed = np.zeros(layout.block_bytes, np.uint8)
    others = [other.block(slot) for slot in range(capacity)]
    cpu_kernel().copy_blocks(
        BoxTable(boxes_of(layout, pool.placed())), [packed.ctypes.data], [capacity - 1], to_pool=False
    )
    cpu_kernel().copy_blocks(BoxTable(boxes_of(layout, other.placed())), [packed.ctypes.data], [0], to_pool=True)
    assert other.block(0) == pool.block(capacity - 1)
    assert [other.block(slot) for slot in range(1, capacity)] == others[1:]


@given(layouts, st.integers(1, 4))
def test_dense_arrays_are_as_numpy_lays_them(layout, capacity):
    pool = Pool(layout, capacity, 0)
    assert dense(layout, capacity, [array.ctypes.data for array in pool.arrays]) == pool.placed()


@pytest.mark.parametrize(
    ("name", "packing", "count"),
    [
        ("llama-8b", "layered", 64),
        ("llama-8b", "universal", 512),
        ("deepseek-v3", "layered", 61),
        ("gpt-oss-20b", "layered", 48),
    ],
)
def test_bytes_that_lie_together_are_one_box(name, packing, count):
    layout = Layout(groups=preset(name).groups, packing=packing)
    addresses = [(at + 1) << 40 for at in range(len(layout.arrays(4)))]
    assert len(boxes_of(layout, dense(layout, 4, addresses))) == count


def test_a_contiguous_block_is_one_box():
    layout = Layout(groups=(Group(name="a", layers=9, tokens=16, heads=8, head_size=128, arrangement="contiguous"),))
    (box,) = boxes_of(layout, dense(layout, 4, [1 << 40]))
    assert box == (1 << 40, layout.block_bytes, 0, 1, layout.block_bytes, 0, 0)


@pytest.mark.parametrize("kind", HOST_KERNELS)
@pytest.mark.parametrize("name", ["tiny", "gpt-oss-20b"])
def test_a_models_block_comes_back_bit_for_bit(name, kind):
    layout = Layout(groups=preset(name).groups, packing="universal")
    pool, back = np.random.default_rng(3), np.zeros(layout.block_bytes, np.uint8)
    arrays = [pool.integers(0, 256, array.size, np.uint8) for array in layout.arrays(2)]
    table = BoxTable(boxes_of(layout, dense(layout, 2, [array.ctypes.data for array in arrays])))
    before = [array.copy() for array in arrays]
    kernel = host_kernel_of(kind)
    kernel.copy_blocks(table, [back.ctypes.data], [1], to_pool=False)
    kernel.copy_blocks(table, [back.ctypes.data], [1], to_pool=True)
    assert all(np.array_equal(one, other) for one, other in zip(arrays, before, strict=True))
