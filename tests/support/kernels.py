"""The kernel for the CPU as tests want it, and bytes to copy."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from kvbm_kernels import CpuKernel, HostKernel, PlainKernel, compile_for_cpu
from kvbm_kernels.errors import CompilerUnavailable
from kvbm_kernels.hashing import SUM_BYTES, checksums, launches
from kvbm_kernels.host import FLAGS

SANITIZE_ENV = "KVBM_TEST_SANITIZE"
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror")


def _library() -> Path:
    return compile_for_cpu((*FLAGS, *SANITIZERS) if os.environ.get(SANITIZE_ENV) else FLAGS)


@cache
def _compiled() -> CpuKernel | str:
    try:
        return CpuKernel(_library())
    except CompilerUnavailable as error:
        return str(error)


def cpu_kernel() -> CpuKernel:
    """The compiled kernel; the test is skipped where nothing compiles it."""
    found = _compiled()
    if isinstance(found, str):
        pytest.skip(f"NOT TESTED: the kernel on the CPU; {found}")
    return found


def cpu_hash(blocks: Sequence[int], block_bytes: int, *, grid: int, threads: int) -> list[str]:
    """Checksums of blocks at these addresses, by the kernel that a GPU would run."""
    cpu_kernel()
    run = ctypes.CDLL(str(_library())).hash_blocks_cpu
    u32, pointer = ctypes.c_uint, ctypes.c_char_p
    run.argtypes, run.restype = [u32, u32, pointer, u32, ctypes.c_ulonglong, ctypes.c_void_p], None
    found = list[str]()
    for count, data in launches(blocks):
        sums = ctypes.create_string_buffer(count * SUM_BYTES)
        run(grid, threads, data, count, block_bytes, ctypes.addressof(sums))
        found += checksums(sums.raw, block_bytes)
    return found


HOST_KERNELS = {"compiled": cpu_kernel, "plain": PlainKernel}


def host_kernel_of(kind: str) -> HostKernel:
    """One kind of kernel for host memory."""
    return HOST_KERNELS[kind]()
