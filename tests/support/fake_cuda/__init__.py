"""CUDA without a GPU, for tests: a driver library over host memory, loaded before the real one is looked for.

A process has one driver, and other libraries would take the fake for a real one. So it is there only in a process that asks
for it, with `KVBM_TEST_FAKE_CUDA=1`; `tests/kernels/test_fake_gpu.py` starts one that runs every test marked `gpu`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from kvbm_kernels import Cache
from kvbm_kernels.cache import key_of
from kvbm_kernels.host import SOURCES, find_compiler

FAKE_ENV = "KVBM_TEST_FAKE_CUDA"
SOURCE = Path(__file__).parent / "libcuda.cpp"
ILLEGAL_ADDRESS = 700
OUT_OF_MEMORY = 2


class FakeCuda:
    """The library, and what can be done to it."""

    def __init__(self, library: Path) -> None:
        self.path = library
        self._library = ctypes.CDLL(str(library))
        self._library.fake_write.argtypes = [ctypes.c_void_p, ctypes.c_ulonglong, ctypes.c_int, ctypes.c_size_t]

    def fail(self, call: str, code: int, times: int = 1) -> None:
        """Let the next calls of one function fail; its name is that of the library."""
        self._library.fake_fail(call.encode(), code, times)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing begins in any stream meanwhile."""
        self._library.fake_hold(1)
        try:
            yield
        finally:
            self._library.fake_hold(0)

    def write(self, stream: int, address: int, byte: int, size: int) -> None:
        """What an engine's computation does: write, in a stream's order."""
        self._library.fake_write(stream, address, byte, size)

    def recover(self) -> None:
        """Forget an error that would end a real process's context."""
        self._library.fake_recover()

    @property
    def waiting(self) -> int:
        """Threads that wait for a stream or an event: all that they wait for has been given."""
        return int(self._library.fake_waiting())

    @property
    def allocations(self) -> int:
        """Allocations and pinned ranges that were not given back."""
        return int(self._library.fake_allocations())


@cache
def load() -> FakeCuda | None:
    """The fake, if this process is to have it.

    Raises:
        CompilerUnavailable: there is nothing to compile it with.
    """
    if not os.environ.get(FAKE_ENV):
        return None
    compiler = find_compiler()
    sources = [SOURCE, *sorted(SOURCES.iterdir())]
    key = key_of(*(source.read_bytes() for source in sources))
    return FakeCuda(Cache().path(key, "libcuda.so.1", lambda: _compile(compiler)))


def _compile(compiler: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="kvbm-fake-cuda-") as folder:
        target = Path(folder) / "libcuda.so.1"
        command = [compiler, "-std=c++17", "-O2", "-shared", "-fPIC", "-pthread", "-Wl,-soname,libcuda.so.1"]
        subprocess.run([*command, f"-I{SOURCES}", "-o", str(target), str(SOURCE), "-ldl", "-lrt"], check=True)
        return target.read_bytes()
