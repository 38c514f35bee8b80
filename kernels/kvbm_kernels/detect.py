"""Whether CUDA can be used here, and if not, why. Nothing in here raises, and without a driver nothing is imported.

It starts the driver in this process. A process that forks afterwards cannot use CUDA in its children.
"""

from __future__ import annotations

import ctypes
import importlib

from msgspec import Struct

from kvbm_kernels import nvrtc
from kvbm_kernels.errors import KernelUnavailable

DRIVER_LIBRARY = "libcuda.so.1"
INSTALL = "pip install 'kvbm-nats[cuda]'"
CAPABILITY_MIN = (8, 0)
_NAME_BYTES = 256
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, …_MINOR


class Gpu(Struct, frozen=True, kw_only=True):
    """One device.

    :ivar capability: compute capability, major and minor
    """

    index: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int


class CudaState(Struct, frozen=True, kw_only=True):
    """What was found.

    :ivar driver: the newest CUDA that the driver knows, major and minor; 0.0 without one
    :ivar why: it is off; empty when it can be used
    :ivar hint: what to do about that
    """

    gpus: tuple[Gpu, ...] = ()
    driver: tuple[int, int] = (0, 0)
    why: str = ""
    hint: str = ""

    @property
    def is_on(self) -> bool:
        """Whether kernels can run here."""
        return not self.why


def detect_cuda(library: str = DRIVER_LIBRARY) -> CudaState:
    """Look for a driver, its devices, and what compiles for them."""
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        return CudaState(why=f"there is no NVIDIA driver ({error})", hint="install the driver, if there is a GPU")
    try:
        return _look(driver)
    except Exception as error:  # noqa: BLE001 - whatever is odd about this driver, CUDA is off and nothing else is
        return CudaState(why=f"the driver is not what it should be: {error!r}", hint="reinstall the driver")


def _look(driver: ctypes.CDLL) -> CudaState:
    if code := driver.cuInit(0):
        return CudaState(why=f"the driver does not start: {_name_of(driver, code)}", hint="see nvidia-smi and dmesg")
    number, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(number))
    version = (number.value // 1000, number.value % 1000 // 10)
    if code := driver.cuDeviceGetCount(ctypes.byref(count)):
        return CudaState(driver=version, why=f"devices cannot be counted: {_name_of(driver, code)}", hint="see dmesg")
    gpus = tuple(_gpu(driver, index) for index in range(count.value))
    why, hint = _flaw_of(gpus, version)
    return CudaState(gpus=gpus, driver=version, why=why, hint=hint)


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, name, size = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, _NAME_BYTES, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    capability = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(value.value)
    shown = name.value.decode(errors="replace")
    return Gpu(index=index, name=shown, capability=(capability[0], capability[1]), memory_bytes=size.value)


def _flaw_of(gpus: tuple[Gpu, ...], driver: tuple[int, int]) -> tuple[str, str]:
    """Why kernels cannot run on these, and what to do."""
    if not gpus:
        return "the driver sees no device", "see CUDA_VISIBLE_DEVICES and nvidia-smi"
    if gpus[0].capability < CAPABILITY_MIN:
        return f"{gpus[0].name} is older than compute capability {CAPABILITY_MIN[0]}.{CAPABILITY_MIN[1]}", "use another"
    try:
        importlib.import_module("cuda.bindings.driver")
        compiler = nvrtc.version()
        nvrtc.architecture_for(gpus[0].capability)
    except ImportError as error:
        return f"the CUDA bindings are not installed ({error})", INSTALL
    except KernelUnavailable as error:
        return f"{error.what}: {error.why}", error.hint
    if compiler[0] > driver[0]:
        return (
            f"NVRTC {compiler[0]}.{compiler[1]} compiles for newer drivers than this one (CUDA {driver[0]}.{driver[1]})",
            f"upgrade the driver to CUDA {compiler[0]}, or install the NVRTC of CUDA {driver[0]}",
        )
    return "", ""


def _name_of(driver: ctypes.CDLL, code: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(code, ctypes.byref(name))
    return (name.value or b"unknown error").decode() + f" ({code})"
