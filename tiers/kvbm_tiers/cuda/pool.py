"""An engine's pool as the kernel on the device sees it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import structlog

from kvbm_kernels import BoxTable, tiled
from kvbm_kernels.boxes import BLOCKS_BYTES, launches
from kvbm_kernels.driver import Driver
from kvbm_kernels.errors import CudaFailed
from kvbm_tiers.geometry import PoolArray, boxes_of
from kvbm_tiers.layout import ALIGNMENT, Layout

_logger = structlog.get_logger(__name__)
THREADS = 256
SHARE_OF_MULTIPROCESSORS = 8
CTAS_EACH = 2
"""A kernel takes an eighth of the multiprocessors: several times what a PCIe link brings, and the engine has the others."""


class DevicePool:
    """Boxes of a layout in device memory, and the kernel over them.

    :ivar is_plain: whether a block is made of whole runs of bytes, which can be copied without a kernel
    :ivar ctas: of a launch
    """

    def __init__(self, driver: Driver, layout: Layout, arrays: Sequence[PoolArray]) -> None:
        """Bring the boxes to the device. Raises CudaFailed if it has no room for them."""
        self.driver, self.layout = driver, layout
        self._boxes = boxes_of(layout, arrays)
        self._table = BoxTable(tiled(self._boxes))
        self.is_plain = all(box.rows == 1 for box in self._boxes)
        self.ctas = max(1, driver.multiprocessors // SHARE_OF_MULTIPROCESSORS) * CTAS_EACH
        self._address = driver.allocate(len(self._table.data))
        driver.upload(self._address, self._table.data)

    @property
    def pieces(self) -> int:
        """Copies that a block takes without a kernel."""
        return len(self._boxes)

    def whole(self, slot: int) -> int:
        """The address of a slot whose block lies in one piece of whole pages, as a disk wants it; 0 where blocks do not."""
        first = self._boxes[0]
        places = first.base | first.slot_stride | self.layout.block_bytes
        is_whole = len(self._boxes) == first.rows == 1 and places % ALIGNMENT == 0
        return first.base + slot * first.slot_stride if is_whole else 0

    def runs(self, slot: int) -> Iterator[tuple[int, int, int]]:
        """Where the bytes of a slot lie in a plain pool: address, place in the packed block, size."""
        for box in self._boxes:
            yield box.base + slot * box.slot_stride, box.place, box.row_bytes

    def launch(self, slots: Sequence[int], packed: Sequence[int], stream: int, *, to_pool: bool) -> None:
        """Gather, or with `to_pool` scatter, between slots and packed blocks that the device can reach."""
        for count, blocks in launches(packed, slots):
            arguments = [
                ctypes.c_uint64(self._address),
                ctypes.c_uint32(len(self._table)),
                (ctypes.c_char * BLOCKS_BYTES).from_buffer_copy(blocks),
                ctypes.c_uint32(count),
                ctypes.c_uint32(to_pool),
            ]
            self.driver.launch("copy_blocks", min(self.ctas, count * len(self._table)), THREADS, arguments, stream)

    def close(self) -> None:
        """Give the boxes' memory back."""
        self.driver.free(self._address)


def give_back(taken: ExitStack) -> None:
    """Give back all that was taken of a device, as far as the driver lets: one whose context has ended takes nothing."""
    try:
        taken.close()
    except CudaFailed as error:
        _logger.warning("the device does not take back all that it gave", why=str(error))
