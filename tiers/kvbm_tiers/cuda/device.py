"""The device tier on a GPU: an engine's arrays, or ones of our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from queue import SimpleQueue

import structlog

from kvbm_kernels.driver import Driver
from kvbm_kernels.errors import CudaFailed
from kvbm_tiers.cuda.lane import Lane
from kvbm_tiers.cuda.pool import DevicePool, give_back
from kvbm_tiers.geometry import PoolArray, dense
from kvbm_tiers.layout import Layout
from kvbm_tiers.memory import address_of
from kvbm_tiers.store import check_slot

_logger = structlog.get_logger(__name__)
DESKS = 4
"""Threads that read or write single blocks at once; movers that do more have lanes of their own."""


class CudaDevice:
    """A pool in device memory. See `Store`; blocks that go to host memory in numbers go by `CudaMover`.

    :ivar pool: what lanes copy from and to
    :ivar arrays: where its memory lies
    """

    def __init__(
        self,
        driver: Driver,
        layout: Layout,
        capacity: int,
        arrays: Sequence[PoolArray] = (),
        *,
        compute_stream: int = 0,
        owner: object = None,
    ) -> None:
        """Take an engine's arrays, or allocate them.

        Args:
            driver: of the device
            layout: of a block
            capacity: slots
            arrays: the engine's memory (`adopt`), one for each of `layout.arrays`; none to allocate
            compute_stream: the stream in which the engine computes; 0 for none, 1 for the legacy default stream. Copies
                wait for what it had when they were asked for
            owner: is kept for as long as the memory is used

        Raises:
            CudaFailed: the device has no room.
        """
        self.layout, self.capacity, self.driver, self._owner = layout, capacity, driver, owner
        self._compute_stream, self._computed = compute_stream, 0
        self._pinned = list[memoryview]()  # mapped for as long as the driver has them
        with ExitStack() as taken:
            self.arrays = list(arrays) or dense(layout, capacity, [*self._allocate(taken)])
            self.pool = DevicePool(driver, layout, self.arrays)
            taken.callback(self.pool.close)
            if compute_stream:
                self._computed = driver.make_event()
                taken.callback(driver.destroy_event, self._computed)
            self._desks = SimpleQueue[Lane]()
            for _ in range(DESKS):
                lane = Lane(self.pool, 1)
                taken.callback(lane.close)
                self._desks.put(lane)
            self._taken = taken.pop_all()

    def mark(self) -> int:
        """An event that comes when all that the engine has started by now is over; 0 where its stream is not known.

        It is always the same event, and the latest mark counts.
        """
        if self._computed:
            self.driver.record(self._computed, self._compute_stream)
        return self._computed

    @property
    def marked(self) -> int:
        """The event of the latest mark."""
        return self._computed

    def pin(self, memory: memoryview) -> None:
        """Let blocks go to and from this host memory at the link's full speed, until the device is closed."""
        address = address_of(memory)
        try:
            self.driver.pin(address, len(memory))
        except CudaFailed as error:
            _logger.warning("host memory is not pinned, and copies there are slow", why=str(error))
            return
        self._pinned.append(memory)
        self._taken.callback(self.driver.unpin, address)

    def view(self, slot: int) -> None:
        """None: device memory is out of reach."""
        check_slot(slot, self.capacity)

    def read(self, slot: int, block: memoryview) -> None:
        """See `Store.read`. Raises CudaFailed."""
        self._copy(slot, block, to_pool=False)

    def write(self, slot: int, block: memoryview) -> None:
        """See `Store.write`. Raises CudaFailed."""
        self._copy(slot, block, to_pool=True)

    def sync(self) -> None:
        """Nothing to do: a device's memory survives nothing."""

    def leave(self) -> None:
        """Let closing give nothing back: something may still read or write the memory, for as long as the process lives."""
        self._taken.pop_all()

    def close(self) -> None:
        """Give back what was allocated here; an engine's arrays stay. No slot can be read or written any more."""
        self.capacity, self._owner = 0, None
        give_back(self._taken)
        self._pinned.clear()

    def _allocate(self, taken: ExitStack) -> Iterator[int]:
        for array in self.layout.arrays(self.capacity):
            address = self.driver.allocate(array.size)
            taken.callback(self.driver.free, address)
            yield address

    def _copy(self, slot: int, block: memoryview, *, to_pool: bool) -> None:
        check_slot(slot, self.capacity)
        if len(block) < self.layout.block_bytes:
            raise ValueError(f"a block has {self.layout.block_bytes} bytes, not {len(block)}")
        lane, after = self._desks.get(), self.mark()
        try:
            go = lane.up if to_pool else lane.down
            go([slot], [address_of(block)], "staged", after=after)
        finally:
            self._desks.put(lane)
