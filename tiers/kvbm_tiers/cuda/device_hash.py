"""Checksums of blocks in device memory, made there: nothing of them passes the host but 64 bytes a block."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ExitStack

from kvbm_kernels.driver import Driver
from kvbm_kernels.hashing import HASHED_BYTES, LANES, SUM_BYTES, checksums, launches
from kvbm_tiers.cuda.pool import give_back
from kvbm_tiers.memory import address_of, anonymous

THREADS = 32
"""Four blocks a CTA: the blocks of a batch are spread over as many multiprocessors as there are."""


class DeviceHash:
    """Room for the sums of some blocks. For one thread and one stream at a time."""

    def __init__(self, driver: Driver, blocks: int) -> None:
        """Take room for `blocks`, the most that are hashed at once. Raises CudaFailed if there is none."""
        self._driver, size = driver, blocks * SUM_BYTES
        self._host = anonymous(size)
        with ExitStack() as taken:
            self._sums = driver.allocate(size)
            taken.callback(driver.free, self._sums)
            driver.pin(address_of(self._host), size)
            taken.callback(driver.unpin, address_of(self._host))
            self._taken = taken.pop_all()

    def start(self, blocks: Sequence[int], block_bytes: int, stream: int) -> None:
        """Let a stream hash blocks that the device reaches, at least `hashing.BLOCK_BYTES_MIN` each. Raises CudaFailed."""
        done = 0
        for count, data in launches(blocks):
            arguments = [
                (ctypes.c_char * HASHED_BYTES).from_buffer_copy(data),
                ctypes.c_uint32(count),
                ctypes.c_uint64(block_bytes),
                ctypes.c_uint64(self._sums + done * SUM_BYTES),
            ]
            self._driver.launch("hash_blocks", -(-count * LANES // THREADS), THREADS, arguments, stream)
            done += count
        self._driver.copy([address_of(self._host)], [self._sums], [done * SUM_BYTES], stream, in_order=True)

    def found(self, count: int, block_bytes: int) -> list[str]:
        """The checksums of the blocks that were started with, when the stream has come so far."""
        return checksums(bytes(self._host[: count * SUM_BYTES]), block_bytes)

    def close(self) -> None:
        """Give the room back."""
        give_back(self._taken)
