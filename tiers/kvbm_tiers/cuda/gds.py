"""Whether blocks can go between a GPU and a disk without passing host memory (GPUDirect Storage), and if not, why.

Asked on a host without a GPU, the plug-in never answers. So it is asked only where a driver was found, in a process of its own that
is ended when it takes too long, and by bytes that go to the disk in question and come back.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kvbm_kernels.detect import CudaState, detect_cuda
from kvbm_kernels.hashing import BLOCK_BYTES_MIN
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.disk_slab import DiskSlab

GDS_NAME = "GDS_MT"
"""Of NIXL's two plug-ins the one that reads and writes by threads: it tells when one came short."""
PROBE = "kvbm_tiers.cuda.gds_probe"
PATIENCE_S, KILLED_S = 20.0, 2.0
_LIBRARIES = ("cuda_runtime/lib/libcudart.so.12", "cufile/lib/libcufile.so.0")
"""What the plug-in wants, where the wheels nvidia-cuda-runtime-cu12 and nvidia-cufile-cu12 have it."""
_NO_DETOUR = "CUFILE_ALLOW_COMPAT_MODE"
"""Left to itself, cuFile goes over host memory where it cannot do better, and says nothing."""


def gds_flaw_of(device: CudaDevice, slab: DiskSlab) -> str:
    """Why blocks of these two go over host memory; empty if they need not."""
    if not slab.may_gds:
        return "it was asked for, by gds=no"
    if not slab.is_direct:
        return "this file system cannot pass the page cache (O_DIRECT)"
    if slab.layout.block_bytes < BLOCK_BYTES_MIN:
        return f"blocks of less than {BLOCK_BYTES_MIN} bytes are not hashed on the device"
    return gds_flaw(slab.path.parent, device.driver.index)


def gds_flaw(
    folder: Path,
    device: int = 0,
    *,
    patience_s: float = PATIENCE_S,
    detect: Callable[[], CudaState] = detect_cuda,
    probe: str = PROBE,
) -> str:
    """Why nothing goes between a folder's disk and a GPU by GPUDirect Storage; empty if it does. Nothing stays in the folder."""
    state = detect()
    if not state.is_on:
        return f"CUDA is off: {state.why}"
    command = [sys.executable, "-m", probe, str(folder), str(device)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
    try:
        said, errors = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # it may be in a call of the kernel that does not end
            process.communicate(timeout=KILLED_S)
        return f"NIXL's {GDS_NAME} did not answer within {patience_s:g} s"
    if process.returncode:
        return errors.strip().rpartition("\n")[2] or f"the probe ended with {process.returncode}"
    return said.strip()


def prepare_gds() -> None:
    """Before the plug-in is loaded: bring it the libraries that wheels have, and forbid the way over host memory."""
    os.environ.setdefault(_NO_DETOUR, "false")
    found = importlib.util.find_spec("nvidia")
    for folder in (found and found.submodule_search_locations) or ():
        for library in _LIBRARIES:
            with suppress(OSError):  # it is not there: the system may have it
                ctypes.CDLL(str(Path(folder) / library), ctypes.RTLD_GLOBAL)
