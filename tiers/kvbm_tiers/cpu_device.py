"""The device tier where there is no device: host memory, in the arrays that an engine would have on its GPU."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_kernels import BoxTable, HostKernel, host_kernel
from kvbm_tiers.geometry import boxes_of, dense
from kvbm_tiers.layout import Layout
from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.store import check_slot


class CpuDevice:
    """A pool as an engine lays it out. Reading gathers a block, writing scatters it, by the kernel that a GPU would run.

    :ivar arrays: the pool's memory, one buffer for each of `layout.arrays(capacity)`
    """

    def __init__(
        self,
        layout: Layout,
        capacity: int,
        arrays: Sequence[memoryview] | None = None,
        *,
        kernel: HostKernel | None = None,
    ) -> None:
        """Take an engine's own arrays, or make new ones.

        Raises:
            ValueError: the arrays are not those of the layout.
        """
        self.layout, self.capacity = layout, capacity
        sizes = [array.size for array in layout.arrays(capacity)]
        self.arrays = [array.cast("B") for array in arrays or map(anonymous, sizes)]
        if [array.nbytes for array in self.arrays] != sizes:
            raise ValueError(f"arrays of {[array.nbytes for array in self.arrays]} bytes; the layout has {sizes}")
        self._kernel = kernel or host_kernel()
        self._table = BoxTable(boxes_of(layout, dense(layout, capacity, [*map(address_of, self.arrays)])))

    def view(self, slot: int) -> None:
        """None: a block lies in pieces, and on a real device out of reach."""
        check_slot(slot, self.capacity)

    def read(self, slot: int, block: memoryview) -> None:
        """See `Store.read`."""
        self._copy(slot, block, to_pool=False)

    def write(self, slot: int, block: memoryview) -> None:
        """See `Store.write`."""
        self._copy(slot, block, to_pool=True)

    def sync(self) -> None:
        """Nothing to do: a device's memory survives nothing."""

    def close(self) -> None:
        """Nothing to do: the arrays are the engine's, or go with this object."""

    def _copy(self, slot: int, block: memoryview, *, to_pool: bool) -> None:
        check_slot(slot, self.capacity)
        if len(block) < self.layout.block_bytes:
            raise ValueError(f"a block has {self.layout.block_bytes} bytes, not {len(block)}")
        self._kernel.copy_blocks(self._table, [address_of(block)], [slot], to_pool=to_pool)
