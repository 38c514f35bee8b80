"""The hash that a GPU makes, run on the CPU: any length, alignment, number of blocks and grid, against xxhash."""

import ctypes
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from xxhash import xxh3_64_hexdigest

from kvbm_kernels.hashing import BLOCK_BYTES_MIN, HASHED_MAX
from support.kernels import cpu_hash

STEP = 1024
lengths = st.one_of(
    st.integers(BLOCK_BYTES_MIN, 5000),
    st.builds(
        lambda steps, off: max(BLOCK_BYTES_MIN, steps * STEP + off),
        st.integers(1, 40),
        st.sampled_from([-64, -1, 0, 1, 63, 64, 65]),
    ),
)
grids = st.tuples(st.sampled_from([1, 2, 5]), st.sampled_from([1, 7, 8, 32, 128]))


@given(lengths, st.integers(1, 5), st.integers(0, 17), grids, st.integers(0, 9))
@example(BLOCK_BYTES_MIN, 1, 0, (1, 8), 0)
@example(STEP, 2, 0, (1, 32), 1)
@example(STEP + 1, 2, 3, (1, 32), 2)
def test_it_is_xxh3_64_bit_for_bit(size, count, before, grid, seed):
    """Memory ends where the last block does, so that a sanitizer sees a byte that is read behind it."""
    data = np.random.default_rng(seed).integers(0, 256, before + count * size, np.uint8)
    blocks = [data.ctypes.data + before + at * size for at in range(count)]
    want = [xxh3_64_hexdigest(data[before + at * size : before + (at + 1) * size]) for at in range(count)]
    assert cpu_hash(blocks, size, grid=grid[0], threads=grid[1]) == want


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_blocks_of_one_byte_only(byte):
    data = np.full(4 * STEP, byte, np.uint8)
    assert cpu_hash([data.ctypes.data], len(data), grid=1, threads=8) == [xxh3_64_hexdigest(data)]


def test_more_blocks_than_one_launch_takes_in_any_order():
    size, count = 256, 2 * HASHED_MAX + 3
    data = Random(1).randbytes(count * size)
    memory = ctypes.create_string_buffer(data, len(data))
    order = Random(2).sample(range(count), count)
    blocks = [ctypes.addressof(memory) + at * size for at in order]
    want = [xxh3_64_hexdigest(data[at * size : (at + 1) * size]) for at in order]
    assert cpu_hash(blocks, size, grid=3, threads=32) == want


@given(st.integers(BLOCK_BYTES_MIN, 3000), st.data())
def test_every_bit_counts(size, data):
    memory = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    before = cpu_hash([memory.ctypes.data], size, grid=1, threads=8)
    at = data.draw(st.integers(0, size - 1))
    memory[at] ^= 1 << data.draw(st.integers(0, 7))
    assert cpu_hash([memory.ctypes.data], size, grid=1, threads=8) != before
