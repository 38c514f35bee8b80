"""Bytes with an address: what is copied without the interpreter's lock, and registered with NIXL and CUDA."""

from __future__ import annotations

import ctypes
import mmap

_SMALL_BYTES = 16 << 10
"""Below this a copy under the interpreter's lock is cheaper than giving the lock away."""


def anonymous(size: int) -> memoryview:
    """New page-aligned memory of this process."""
    return memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def mapped(fd: int, size: int) -> memoryview:
    """A file as memory, shared with whoever maps it too."""
    return memoryview(mmap.mmap(fd, size, mmap.MAP_SHARED))


def address_of(memory: memoryview) -> int:
    """Where writable memory lies. Good for as long as somebody holds it."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def copy(target: memoryview, source: memoryview) -> None:
    """Copy between views of equal size, other threads running meanwhile if it takes long."""
    if len(target) != len(source) or len(target) < _SMALL_BYTES:
        target[:] = source  # which refuses another size
    else:
        ctypes.memmove(address_of(target), address_of(source), len(target))
