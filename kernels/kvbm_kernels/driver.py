"""One CUDA device through its driver: memory, pinned host memory, streams, events, copies and launches.

Nothing else in kvbm-nats calls the driver. Addresses and handles are whole numbers. Any thread may call: the device's primary
context, which an engine in the same process uses too, becomes current in it.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from kvbm_kernels import nvrtc
from kvbm_kernels.cache import Cache
from kvbm_kernels.detect import detect_cuda
from kvbm_kernels.errors import CudaFailed, CudaUnavailable

IPC_HANDLE_BYTES = 64
_BATCH = (b"cuMemcpyBatchAsync", 13000)
"""The function, and the first driver that has it in the form that is called here."""
_Words = ctypes.POINTER(ctypes.c_uint64)
_BATCH_TYPE = ctypes.CFUNCTYPE(
    ctypes.c_int, _Words, _Words, _Words, ctypes.c_size_t, ctypes.c_void_p, _Words, ctypes.c_size_t, ctypes.c_void_p
)


class Extent(NamedTuple):
    """An allocation of device memory."""

    address: int
    size: int


class Driver:
    """One device.

    :ivar index: of the device among those that the process sees
    :ivar name: of the device
    :ivar uuid: of the device, 32 hex digits
    :ivar architecture: `sm_90` and the like
    :ivar multiprocessors: how many it has
    """

    def __init__(self, index: int = 0, *, cache: Cache | None = None) -> None:
        """Take a device and load the kernels, compiled if no earlier process has.

        Raises:
            CudaUnavailable: CUDA is off, or there is no such device.
            CompilationFailed: NVRTC does not take them.
            CudaFailed: the driver refuses.
        """
        state = detect_cuda()
        if not state.is_on or not 0 <= index < len(state.gpus):
            why = state.why or f"there are {len(state.gpus)} devices, counted from 0"
            raise CudaUnavailable(f"CUDA device {index} cannot be used", why=why, hint=state.hint or "kvbm doctor")
        self._api: Any = importlib.import_module("cuda.bindings.driver")
        self.index, self.name = index, state.gpus[index].name
        self.architecture = nvrtc.architecture_for(state.gpus[index].capability)
        self._device = self._call("cuDeviceGet", index)
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        self._thread = threading.local()
        attribute = self._api.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
        self.multiprocessors: int = self._call("cuDeviceGetAttribute", attribute, self._device)
        self.uuid: str = bytes(self._call("cuDeviceGetUuid", self._device).bytes).hex()
        self._module = self._ask("cuModuleLoadData", nvrtc.cubin_for(self.architecture, cache=cache))
        self._kernels = {name: self._ask("cuModuleGetFunction", self._module, name.encode()) for name in nvrtc.KERNELS}
        self._batch = self._find_batch()
        self._in_order = self._attributes("CU_MEMCPY_SRC_ACCESS_ORDER_STREAM")
        self._at_once = self._attributes("CU_MEMCPY_SRC_ACCESS_ORDER_ANY")

    def registers(self, kernel: str) -> int:
        """That a thread of a kernel takes."""
        attribute = self._api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_NUM_REGS
        return int(self._ask("cuFuncGetAttribute", attribute, self._kernels[kernel]))

    def allocate(self, size: int) -> int:
        """Device memory."""
        return int(self._ask("cuMemAlloc", size))

    def free(self, address: int) -> None:
        """Give device memory back. It waits for what is under way."""
        self._ask("cuMemFree", address)

    def extent(self, address: int) -> Extent:
        """The allocation that an address lies in. Raises CudaFailed if it is not device memory."""
        base, size = self._ask("cuMemGetAddressRange", address)
        return Extent(int(base), int(size))

    def pin(self, address: int, size: int) -> None:
        """Lock host memory in place and let the device reach it."""
        flags = self._api.CU_MEMHOSTREGISTER_PORTABLE | self._api.CU_MEMHOSTREGISTER_DEVICEMAP
        self._ask("cuMemHostRegister", address, size, flags)

    def unpin(self, address: int) -> None:
        """Undo `pin`."""
        self._ask("cuMemHostUnregister", address)

    def mapped(self, address: int) -> int:
        """Where the device sees pinned host memory."""
        return int(self._ask("cuMemHostGetDevicePointer", address, 0))

    def export(self, address: int) -> bytes:
        """A handle by which another process can open the allocation that begins there."""
        handle = self._ask("cuIpcGetMemHandle", address)
        return ctypes.string_at(handle.getPtr(), IPC_HANDLE_BYTES)

    def open_export(self, data: bytes) -> int:
        """The address of another process's allocation. That process must keep it for as long."""
        handle = self._api.CUipcMemHandle()
        ctypes.memmove(handle.getPtr(), data, IPC_HANDLE_BYTES)
        lazily = self._api.CUipcMem_flags.CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS
        return int(self._ask("cuIpcOpenMemHandle", handle, lazily.value))

    def close_export(self, address: int) -> None:
        """Undo `open_export`."""
        self._ask("cuIpcCloseMemHandle", address)

    def make_stream(self) -> int:
        """A stream that waits for no other, of the least priority: an engine's work goes first."""
        least, _greatest = self._ask("cuCtxGetStreamPriorityRange")
        return int(
            self._ask("cuStreamCreateWithPriority", self._api.CUstream_flags.CU_STREAM_NON_BLOCKING.value, least)
        )

    def destroy_stream(self, stream: int) -> None:
        """Undo `make_stream`."""
        self._ask("cuStreamDestroy", stream)

    def make_event(self, *, timed: bool = False) -> int:
        """An event. A thread that waits for it sleeps."""
        flags = self._api.CUevent_flags
        kinds = flags.CU_EVENT_BLOCKING_SYNC.value | (0 if timed else flags.CU_EVENT_DISABLE_TIMING.value)
        return int(self._ask("cuEventCreate", kinds))

    def destroy_event(self, event: int) -> None:
        """Undo `make_event`."""
        self._ask("cuEventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        """The event comes when all that the stream has so far is over."""
        self._ask("cuEventRecord", event, stream)

    def order_after(self, stream: int, event: int) -> None:
        """What the stream gets from here on begins when the event has come."""
        self._ask("cuStreamWaitEvent", stream, event, 0)

    def await_event(self, event: int) -> None:
        """Wait, other threads running meanwhile. Raises CudaFailed for whatever failed before it."""
        self._ask("cuEventSynchronize", event)

    def await_stream(self, stream: int) -> None:
        """Wait until all that the stream has is over. Raises CudaFailed for whatever failed in it."""
        self._ask("cuStreamSynchronize", stream)

    def elapsed_s(self, start: int, end: int) -> float:
        """Between two events that were timed and have come."""
        return float(self._ask("cuEventElapsedTime", start, end)) / 1e3

    def upload(self, address: int, data: bytes) -> None:
        """Copy bytes to device memory, and wait."""
        self._ask("cuMemcpyHtoD", address, data, len(data))

    def copy(
        self, targets: Sequence[int], sources: Sequence[int], sizes: Sequence[int], stream: int, *, in_order: bool
    ) -> None:
        """Copy from addresses to addresses, of the device or pinned.

        Args:
            targets: where to
            sources: from where
            sizes: bytes
            stream: which the copies are ordered in
            in_order: whether the sources are read in the stream's order too. Only what nothing in the stream writes may be read
                before its turn
        """
        count = len(sizes)
        if not self._batch or count == 1:
            for target, source, size in zip(targets, sources, sizes, strict=True):
                self._ask("cuMemcpyAsync", target, source, size, stream)
            return
        words = ctypes.c_uint64 * count
        attributes, start = self._in_order if in_order else self._at_once, (ctypes.c_uint64 * 1)(0)
        self._make_current()
        code = self._batch(
            words(*targets), words(*sources), words(*sizes), count, attributes.getPtr(), start, 1, stream
        )
        if code:
            raise CudaFailed("cuMemcpyBatchAsync", self._api.CUresult(code).name)

    def launch(self, kernel: str, grid: int, threads: int, arguments: Sequence[Any], stream: int) -> None:
        """Start one of `nvrtc.KERNELS`. Its arguments are ctypes objects, which the driver copies."""
        pointers = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        self._ask(
            "cuLaunchKernel", self._kernels[kernel], grid, 1, 1, threads, 1, 1, 0, stream, ctypes.addressof(pointers), 0
        )

    def close(self) -> None:
        """Let go of the device. What was allocated, pinned and made here must have been given back."""
        self._ask("cuModuleUnload", self._module)
        self._call("cuDevicePrimaryCtxRelease", self._device)

    @property
    def has_batches(self) -> bool:
        """Whether the driver takes many copies in one call; without it they are given one by one."""
        return self._batch is not None

    def _find_batch(self) -> Any:  # noqa: ANN401 - the bindings have no type information
        """The driver's own function: the bindings want an object for every address."""
        name, version = _BATCH
        result, address, _status = self._api.cuGetProcAddress(name, version, 0)
        return _BATCH_TYPE(int(address)) if result == 0 and address else None

    def _attributes(self, order: str) -> Any:  # noqa: ANN401 - the same
        attributes = self._api.CUmemcpyAttributes()
        attributes.srcAccessOrder = getattr(self._api.CUmemcpySrcAccessOrder, order)
        attributes.flags = self._api.CUmemcpyFlags.CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE.value
        return attributes

    def _make_current(self) -> None:
        if not getattr(self._thread, "is_ready", False):
            self._call("cuCtxSetCurrent", self._context)
            self._thread.is_ready = True

    def _ask(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 - the same
        """Call the driver with the context current in this thread."""
        self._make_current()
        return self._call(name, *arguments)

    def _call(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 - the same
        result, *answer = getattr(self._api, name)(*arguments)
        if result != 0:
            raise CudaFailed(name, result.name)
        return answer[0] if len(answer) == 1 else answer
