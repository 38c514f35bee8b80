"""The device tier where there is no device: host memory, in the arrays that an engine would have on its GPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from kvbm_tiers.layout import Layout
from kvbm_tiers.memory import address_of, anonymous, copy_at
from kvbm_tiers.store import check_slot


class CpuDevice:
    """A pool as an engine lays it out. Reading gathers a block's pieces, writing scatters them.

    :ivar arrays: the pool's memory, one buffer for each of `layout.arrays(capacity)`
    """

    def __init__(self, layout: Layout, capacity: int, arrays: Sequence[memoryview] | None = None) -> None:
        """Take an engine's own arrays, or make new ones.

        Raises:
            ValueError: the arrays are not those of the layout.
        """
        self.layout, self.capacity = layout, capacity
        sizes = [array.size for array in layout.arrays(capacity)]
        self.arrays = [array.cast("B") for array in arrays or map(anonymous, sizes)]
        if [array.nbytes for array in self.arrays] != sizes:
            raise ValueError(f"arrays of {[array.nbytes for array in self.arrays]} bytes; the layout has {sizes}")
        first, bases = layout.segments(0, capacity), [address_of(array) for array in self.arrays]
        places = accumulate((segment.size for segment in first), initial=0)
        # The pieces of slot n lie n times their size behind those of slot 0.
        self._pieces = [
            (place, bases[array] + offset, size) for place, (array, offset, size) in zip(places, first, strict=False)
        ]

    def view(self, slot: int) -> None:
        """None: a block lies in pieces, and on a real device out of reach."""
        check_slot(slot, self.capacity)

    def read(self, slot: int, block: memoryview) -> None:
        """See `Store.read`."""
        packed = self._address(slot, block)
        for place, address, size in self._pieces:
            copy_at(packed + place, address + slot * size, size)

    def write(self, slot: int, block: memoryview) -> None:
        """See `Store.write`."""
        packed = self._address(slot, block)
        for place, address, size in self._pieces:
            copy_at(address + slot * size, packed + place, size)

    def sync(self) -> None:
        """Nothing to do: a device's memory survives nothing."""

    def close(self) -> None:
        """Nothing to do: the arrays are the engine's, or go with this object."""

    def _address(self, slot: int, block: memoryview) -> int:
        check_slot(slot, self.capacity)
        if len(block) < self.layout.block_bytes:
            raise ValueError(f"a block has {self.layout.block_bytes} bytes, not {len(block)}")
        return address_of(block)
