"""The kernel for the CPU as tests want it, and bytes to copy."""

from __future__ import annotations

import os
from functools import cache

import pytest

from kvbm_kernels import CpuKernel, HostKernel, PlainKernel, compile_for_cpu
from kvbm_kernels.errors import CompilerUnavailable
from kvbm_kernels.host import FLAGS

SANITIZE_ENV = "KVBM_TEST_SANITIZE"
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror")


@cache
def _compiled() -> CpuKernel | str:
    try:
        return CpuKernel(compile_for_cpu((*FLAGS, *SANITIZERS) if os.environ.get(SANITIZE_ENV) else FLAGS))
    except CompilerUnavailable as error:
        return str(error)


def cpu_kernel() -> CpuKernel:
    """The compiled kernel; the test is skipped where nothing compiles it."""
    found = _compiled()
    if isinstance(found, str):
        pytest.skip(f"NOT TESTED: the kernel on the CPU; {found}")
    return found


HOST_KERNELS = {"compiled": cpu_kernel, "plain": PlainKernel}


def host_kernel_of(kind: str) -> HostKernel:
    """One kind of kernel for host memory."""
    return HOST_KERNELS[kind]()
