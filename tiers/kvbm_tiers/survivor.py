"""A file of blocks that outlives its process: opened by one at a time, and kept only if it can be told what is in it."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from kvbm_tiers import sidecar
from kvbm_tiers.errors import StoreBusy, StoreDamaged, StoreFull
from kvbm_tiers.file_lock import try_lock
from kvbm_tiers.layout import Layout
from kvbm_tiers.sidecar import Sidecar
from kvbm_tiers.store import Opening


def claim(path: Path, *, namespace: str, layout: Layout, capacity: int, reset: bool) -> tuple[int, Opening]:
    """Open a file of blocks, or make it, whole and for this process alone; the descriptor, and what became of its blocks.

    It is kept if its sidecar is of this namespace and layout. It starts empty where nothing was, where nothing tells
    what is in it, where its capacity is another, or where `reset` asks for that.

    Raises:
        NamespaceMismatch: it holds blocks of another namespace or layout; the message names the field.
        StoreBusy: another process has it.
        StoreFull: the file system has not that much room.
        StoreDamaged: the file is missing, too short or not ours, or its sidecar cannot be read.
    """
    wanted = Sidecar(
        namespace=namespace,
        layout=layout,
        capacity=capacity,
        block_bytes=layout.block_bytes,
        slot_bytes=layout.slot_bytes,
        incarnation=secrets.token_hex(8),
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = _open(path, may_create=reset or not sidecar.path_of(path).exists())
    try:
        _lock(fd, path)
        if reset:
            return fd, _start_empty(fd, path, wanted, "a reset was asked for")
        return fd, _keep(fd, path, wanted)
    except BaseException:
        os.close(fd)
        raise


def _open(path: Path, *, may_create: bool) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if may_create else 0)
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError as error:
        raise StoreDamaged(
            f"{path} is missing", why="its sidecar says that it held blocks", hint="put it back, or reset it"
        ) from error
    if os.fstat(fd).st_uid != os.geteuid():
        os.close(fd)
        raise StoreDamaged(f"{path} belongs to another user", why="who owns it can read and change every block")
    os.fchmod(fd, 0o600)
    return fd


def _lock(fd: int, path: Path) -> None:
    if not try_lock(fd):
        raise StoreBusy(
            f"{path} is in use", why="another process holds its lock", hint="stop that one, or name another file"
        )


def _keep(fd: int, path: Path, wanted: Sidecar) -> Opening:
    found, size = sidecar.load(path), os.fstat(fd).st_size
    if not found:
        why = "nothing tells what is in it: its sidecar is missing" if size else "it is new"
        return _start_empty(fd, path, wanted, why)
    found.check(wanted)
    if found.capacity != wanted.capacity:
        return _start_empty(fd, path, wanted, f"its capacity was {found.capacity} and is {wanted.capacity}")
    if size != found.size:
        raise StoreDamaged(f"{path} has {size} of {found.size} bytes", why="it was cut or grew", hint="reset it")
    return Opening(state="kept", why="its namespace, layout and size are as asked", incarnation=found.incarnation)


def _start_empty(fd: int, path: Path, wanted: Sidecar, why: str) -> Opening:
    """The sidecar goes first and comes last: a crash in between leaves a file that nobody trusts."""
    sidecar.remove(path)
    os.ftruncate(fd, 0)
    try:
        os.posix_fallocate(fd, 0, wanted.size)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM}:
            raise
        free = os.statvfs(path.parent)
        raise StoreFull(
            f"{path} cannot have {wanted.size} bytes",
            why=f"{error.strerror}; {free.f_bavail * free.f_frsize} bytes are free there",
            hint="lower the capacity, or name a larger file system",
        ) from error
    os.fsync(fd)
    sidecar.save(path, wanted)
    return Opening(state="reset", why=why, incarnation=wanted.incarnation)
