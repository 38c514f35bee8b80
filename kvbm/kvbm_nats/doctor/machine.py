"""Checks of the machine: the disk that slabs lie on, the shared memory that arenas lie in, and the clock."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import struct
import tempfile
from pathlib import Path

from kvbm_nats.doctor.finding import Finding
from kvbm_tiers.host_arena import SHARED_MEMORY
from kvbm_tiers.layout import ALIGNMENT

FREE_MIN_BYTES = 1 << 30
SHARED_MIN_BYTES = 1 << 30
CLOCK_ERROR_MAX_S = 1.0
_TIMEX_BYTES = 512
_STATUS_OFFSET, _MAXERROR_OFFSET = 40, 24
_STA_UNSYNC = 0x40
_GIB = 1 << 30


def check_disk(folder: Path) -> list[Finding]:
    """Whether files there can be written past the page cache, and how much room there is."""
    place = existing(folder)
    try:
        is_direct = _writes_direct(place)
    except OSError as error:
        what = f"{place} cannot be written to: {error.strerror}"
        return [Finding(name="disk", state="broken", what=what, hint="name another folder with --folder")]
    free = shutil.disk_usage(place).free
    what = f"{place}: {free / _GIB:.1f} GiB free, {'with' if is_direct else 'without'} O_DIRECT"
    if free < FREE_MIN_BYTES:
        return [Finding(name="disk", state="poor", what=what, hint="make room, or name another folder with --folder")]
    if not is_direct:
        hint = "put slabs on ext4 or xfs: here blocks take host memory twice"
        return [Finding(name="disk", state="poor", what=what, hint=hint)]
    return [Finding(name="disk", state="ok", what=what)]


def check_shared_memory(folder: Path = SHARED_MEMORY) -> list[Finding]:
    """How large arenas can be."""
    if not folder.is_dir():
        what = f"{folder} is not there"
        return [
            Finding(name="shared memory", state="poor", what=what, hint="mount a tmpfs there, or use another folder")
        ]
    usage = shutil.disk_usage(folder)
    what = f"{folder}: {usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB free"
    if usage.free < SHARED_MIN_BYTES:
        hint = "mount it larger (docker run --shm-size), or remove arenas that nobody uses any more"
        return [Finding(name="shared memory", state="poor", what=what, hint=hint)]
    return [Finding(name="shared memory", state="ok", what=what)]


def check_clock() -> list[Finding]:
    """Whether something keeps it right: workers read deadlines that an owner on another machine wrote."""
    found = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(found)
    except (OSError, AttributeError):
        state = -1
    if state < 0:
        what = "this system does not tell whether it is synchronised"
        return [Finding(name="clock", state="note", what=what, hint="see chronyc tracking or timedatectl")]
    (status,) = struct.unpack_from("i", found, _STATUS_OFFSET)
    (error_us,) = struct.unpack_from("q", found, _MAXERROR_OFFSET)
    if status & _STA_UNSYNC:
        hint = "run chrony or systemd-timesyncd, if owner and workers are on several machines"
        return [Finding(name="clock", state="note", what="nothing keeps it synchronised", hint=hint)]
    what = f"synchronised, wrong by {error_us / 1e6:.3f} s at most"
    if error_us > CLOCK_ERROR_MAX_S * 1e6:
        return [
            Finding(
                name="clock", state="poor", what=what, hint="see chronyc sources: its servers are far away, or lost"
            )
        ]
    return [Finding(name="clock", state="ok", what=what)]


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _writes_direct(folder: Path) -> bool:
    """Write a page past the page cache. Raises OSError if nothing can be written at all."""
    fd, name = tempfile.mkstemp(prefix=".kvbm-doctor-", dir=folder)
    os.close(fd)
    try:
        fd = os.open(name, os.O_WRONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, ALIGNMENT) as page:
                os.write(fd, page)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    else:
        return True
    finally:
        Path(name).unlink()
