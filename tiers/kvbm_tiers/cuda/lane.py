"""One stream of copies between a device's pool and packed blocks in host memory, by one of three ways.

copies   every run of bytes by a DMA of its own, all in one call: for blocks in few and large pieces
staged   a kernel gathers blocks on the device, then one DMA a block; and back
mapped   a kernel reads and writes pinned host memory itself: for pages so small that a DMA each costs more
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal, NamedTuple

from kvbm_tiers.cuda.pool import DevicePool, give_back
from kvbm_tiers.cuda.through import through

Way = Literal["copies", "staged", "mapped"]


class Ways(NamedTuple):
    """How blocks go down to the host, and up to the device."""

    down: Way
    up: Way


class Lane:
    """A stream, and room on the device for some packed blocks. For one thread at a time."""

    def __init__(self, pool: DevicePool, blocks: int) -> None:
        """Take room for `blocks`, the most that go at once. Raises CudaFailed if there is none."""
        self._pool, self._driver, size = pool, pool.driver, pool.layout.slot_bytes
        with ExitStack() as taken:
            staging = self._driver.allocate(blocks * size)
            taken.callback(self._driver.free, staging)
            self._places = [staging + at * size for at in range(blocks)]
            self._over = self._driver.make_event()
            taken.callback(self._driver.destroy_event, self._over)
            self._stream = self._driver.make_stream()
            taken.callback(self._driver.destroy_stream, self._stream)
            self._taken = taken.pop_all()

    def down(self, slots: Sequence[int], blocks: Sequence[int], way: Way, *, after: int = 0) -> None:
        """Copy slots to host memory, and wait.

        Args:
            slots: of the pool
            blocks: an address for each; pinned, where the way is `mapped`
            way: how
            after: an event that has come before a byte is read; 0 for none

        Raises:
            CudaFailed: some or all of them were not copied; nothing is under way any more.
        """
        self._run(slots, blocks, way, after, to_pool=False)

    def up(self, slots: Sequence[int], blocks: Sequence[int], way: Way, *, after: int = 0) -> None:
        """Copy host memory to slots, and wait. See `down`; `after` has come before a byte is written."""
        self._run(slots, blocks, way, after, to_pool=True)

    def close(self) -> None:
        """Give stream and room back."""
        give_back(self._taken)

    def _run(self, slots: Sequence[int], blocks: Sequence[int], way: Way, after: int, *, to_pool: bool) -> None:
        with through(self._driver, self._stream, self._over, after):
            if way == "copies":
                self._copy_runs(slots, blocks, to_pool=to_pool)
            elif way == "mapped":
                self._pool.launch(slots, [*map(self._driver.mapped, blocks)], self._stream, to_pool=to_pool)
            elif to_pool:
                self._copy_blocks(self._places[: len(slots)], blocks, in_order=False)
                self._pool.launch(slots, self._places[: len(slots)], self._stream, to_pool=True)
            else:
                self._pool.launch(slots, self._places[: len(slots)], self._stream, to_pool=False)
                self._copy_blocks(blocks, self._places[: len(slots)], in_order=True)

    def _copy_blocks(self, targets: Sequence[int], sources: Sequence[int], *, in_order: bool) -> None:
        sizes = [self._pool.layout.block_bytes] * len(targets)
        self._driver.copy(targets, sources, sizes, self._stream, in_order=in_order)

    def _copy_runs(self, slots: Sequence[int], blocks: Sequence[int], *, to_pool: bool) -> None:
        there, here, sizes = list[int](), list[int](), list[int]()
        for slot, block in zip(slots, blocks, strict=True):
            for address, place, size in self._pool.runs(slot):
                there.append(address)
                here.append(block + place)
                sizes.append(size)
        if to_pool:
            self._driver.copy(there, here, sizes, self._stream, in_order=False)
        else:
            self._driver.copy(here, there, sizes, self._stream, in_order=True)
