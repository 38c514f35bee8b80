"""A lock on an open file, which the kernel lets go when the process ends, however it ends."""

from __future__ import annotations

import fcntl


def try_lock(fd: int) -> bool:
    """Lock the file if nobody has it locked through another descriptor; whether that was so. Closing it lets go."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
