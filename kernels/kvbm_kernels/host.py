"""Copying blocks in host memory: by the kernel that a GPU runs, compiled for the CPU, or without a compiler by memmove."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import structlog

from kvbm_kernels.boxes import BoxTable, launches
from kvbm_kernels.cache import Cache, key_of
from kvbm_kernels.errors import CompilationFailed, CompilerUnavailable, KernelUnavailable

_logger = structlog.get_logger(__name__)
SOURCES = Path(__file__).parent / "cuda"
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fvisibility=hidden")
_COMPILERS = ("c++", "g++", "clang++")
_TIMEOUT_S = 120.0


class HostKernel(Protocol):
    """Copies blocks between a pool and packed memory, both this process's. Any thread may call."""

    def copy_blocks(self, table: BoxTable, packed: Sequence[int], slots: Sequence[int], *, to_pool: bool) -> None:
        """Gather, or with `to_pool` scatter.

        Args:
            table: the boxes of a block
            packed: address of each packed block
            slots: of each, in the pool
            to_pool: whether the packed blocks are the source
        """
        ...


class CpuKernel:
    """`cuda/block_copy.cuh`, compiled by a C++ compiler. Other threads run meanwhile."""

    def __init__(self, library: Path) -> None:
        """Load it.

        Raises:
            CompilationFailed: it cannot be loaded.
        """
        try:
            self._copy = ctypes.CDLL(str(library)).copy_blocks_cpu
        except (OSError, AttributeError) as error:
            raise CompilationFailed(f"{library} cannot be loaded", why=str(error)) from error
        u32, pointer = ctypes.c_uint, ctypes.c_char_p
        self._copy.argtypes, self._copy.restype = [u32, u32, pointer, u32, pointer, u32, u32], None

    def copy_blocks(
        self,
        table: BoxTable,
        packed: Sequence[int],
        slots: Sequence[int],
        *,
        to_pool: bool,
        grid: int = 1,
        threads: int = 1,
    ) -> None:
        """See `HostKernel.copy_blocks`. A grid and threads are taken one after the other: one of each is fastest."""
        for count, blocks in launches(packed, slots):
            self._copy(grid, threads, table.data, len(table), blocks, count, to_pool)


class PlainKernel:
    """The same, row by row."""

    def copy_blocks(self, table: BoxTable, packed: Sequence[int], slots: Sequence[int], *, to_pool: bool) -> None:
        """See `HostKernel.copy_blocks`."""
        for address, slot in zip(packed, slots, strict=True):
            for base, slot_stride, place, rows, row_bytes, pool_stride, packed_stride in table.boxes:
                there, here = base + slot * slot_stride, address + place
                for row in range(rows):
                    one, other = there + row * pool_stride, here + row * packed_stride
                    ctypes.memmove(*((one, other) if to_pool else (other, one)), row_bytes)


def compile_for_cpu(flags: Sequence[str] = FLAGS, *, cache: Cache | None = None) -> Path:
    """The shared library, compiled if no earlier process has.

    Raises:
        CompilerUnavailable: there is no C++ compiler.
        CompilationFailed: it does not take the source.
    """
    compiler = find_compiler()
    found = Path(compiler).resolve().stat()
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir())]
    key = key_of(*sources, *flags, compiler, found.st_size, found.st_mtime_ns, platform.machine())
    try:
        return (cache or Cache()).path(key, "so", lambda: _compile(compiler, flags))
    except OSError as error:
        raise CompilationFailed("the kernel for the CPU cannot be stored", why=str(error)) from error


def find_compiler() -> str:
    """The path of a C++ compiler: `CXX`, or the first that is there.

    Raises:
        CompilerUnavailable: there is none.
    """
    for name in filter(None, (os.environ.get("CXX"), *_COMPILERS)):
        if path := shutil.which(name):
            return path
    raise CompilerUnavailable(
        "there is no C++ compiler",
        why=f"none of {', '.join(_COMPILERS)} is on PATH",
        hint="apt install g++, or set CXX",
    )


@cache
def host_kernel() -> HostKernel:
    """The best that this machine has, chosen once."""
    try:
        return CpuKernel(compile_for_cpu())
    except KernelUnavailable as error:
        _logger.warning("blocks in host memory are copied piece by piece in Python, which is slow", why=str(error))
        return PlainKernel()


def _compile(compiler: str, flags: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="kvbm-kernels-") as folder:
        target = Path(folder) / "kernels.so"
        command = [compiler, *flags, "-o", str(target), str(SOURCES / "kernels_cpu.cpp")]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603 - the user's own compiler
        except subprocess.CalledProcessError as error:
            raise CompilationFailed(f"{compiler} does not take the kernel", why=error.stderr.strip()) from error
        except subprocess.TimeoutExpired as error:
            raise CompilationFailed(f"{compiler} did not end", why=f"{_TIMEOUT_S:.0f} s passed") from error
        return target.read_bytes()
