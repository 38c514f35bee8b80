"""A device pool that another process opens: the engine exports its memory, and a worker beside it moves the blocks.

What is exported is a handle for each allocation, and where in it the arrays lie. The engine must keep its memory for as long as
a worker has it open, and has computed a block before it registers it: its stream cannot be waited for from outside.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from kvbm_events.schema.errors import NamespaceMismatch
from kvbm_kernels.driver import Driver
from kvbm_kernels.errors import CudaFailed
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.geometry import PoolArray
from kvbm_tiers.layout import Layout


class SharedArray(Struct, frozen=True, kw_only=True):
    """One array: in which allocation, from where, with which strides."""

    allocation: int
    offset: int
    strides: tuple[int, ...]


class SharedPool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the other process must know.

    :ivar device: uuid of the GPU
    :ivar handles: of the allocations, in hex digits
    """

    device: str
    layout: Layout
    capacity: int
    handles: tuple[str, ...]
    arrays: tuple[SharedArray, ...]


class _Opened:
    """Allocations of another process; closed when the device is done with them."""

    def __init__(self, driver: Driver, handles: tuple[str, ...]) -> None:
        self._driver, self.addresses = driver, list[int]()
        try:
            for handle in handles:
                self.addresses.append(driver.open_export(bytes.fromhex(handle)))
        except CudaFailed:
            self.close()
            raise

    def close(self) -> None:
        for address in self.addresses:
            self._driver.close_export(address)
        self.addresses.clear()


class SharedDevice(CudaDevice):
    """A pool in another process's memory."""

    def __init__(self, driver: Driver, shared: SharedPool) -> None:
        """Open it. Raises CudaFailed if the other process is gone, or is this one."""
        self._opened = _Opened(driver, shared.handles)
        try:
            arrays = [
                PoolArray(self._opened.addresses[each.allocation] + each.offset, each.strides) for each in shared.arrays
            ]
            super().__init__(driver, shared.layout, shared.capacity, arrays)
        except BaseException:
            self._opened.close()
            raise

    def close(self) -> None:
        """Let go of the other process's memory."""
        super().close()
        self._opened.close()


def share(device: CudaDevice) -> bytes:
    """What another process needs to open a pool, as JSON. Whoever has it can read and write the pool.

    Raises:
        CudaFailed: the memory cannot be exported. PyTorch's is only without `expandable_segments`.
    """
    bases = list[int]()
    arrays = list[SharedArray]()
    for address, strides in device.arrays:
        base = device.driver.extent(address).address
        if base not in bases:
            bases.append(base)
        arrays.append(SharedArray(allocation=bases.index(base), offset=address - base, strides=strides))
    shared = SharedPool(
        device=device.driver.uuid,
        layout=device.layout,
        capacity=device.capacity,
        handles=tuple(device.driver.export(base).hex() for base in bases),
        arrays=tuple(arrays),
    )
    return msgspec.json.encode(shared)


def open_shared(driver: Driver, data: bytes) -> CudaDevice:
    """The pool of another process.

    Raises:
        NamespaceMismatch: it lies on another GPU, or `data` is not what `share` gave.
        CudaFailed: it cannot be opened: its process is gone, or is this one.
    """
    try:
        shared = msgspec.json.decode(data, type=SharedPool)
    except msgspec.DecodeError as error:
        raise NamespaceMismatch("a shared pool that cannot be read", why=str(error), hint="share it again") from error
    if shared.device != driver.uuid:
        raise NamespaceMismatch(
            f"the pool lies on GPU {shared.device}, and this is {driver.uuid}",
            why="a worker reaches the memory of its own GPU only",
            hint="see CUDA_VISIBLE_DEVICES of both processes",
        )
    return SharedDevice(driver, shared)
