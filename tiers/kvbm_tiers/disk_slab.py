"""Disk of a tier: one slab file, its room taken when it is made, read and written past the page cache."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import structlog

from kvbm_tiers.layout import Layout
from kvbm_tiers.store import check_slot
from kvbm_tiers.survivor import claim

_logger = structlog.get_logger(__name__)


class DiskSlab:
    """Packed blocks one after the other, in a file that survives the process and the machine.

    :ivar opening: whether its blocks were kept, and why
    :ivar is_direct: whether the page cache is passed by
    :ivar may_gds: whether blocks may go to and from a GPU without passing host memory
    """

    def __init__(
        self, path: Path, *, namespace: str, layout: Layout, capacity: int, reset: bool = False, may_gds: bool = True
    ) -> None:
        """See `survivor.claim` for what is kept, and for the errors."""
        self.layout, self.capacity, self.path, self.may_gds = layout, capacity, path, may_gds
        self.fd, self.opening = claim(path, namespace=namespace, layout=layout, capacity=capacity, reset=reset)
        self.is_direct = self._pass_the_page_cache()

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return self.capacity * self.layout.slot_bytes

    def view(self, slot: int) -> None:
        """None: a slab's blocks are not in memory."""
        check_slot(slot, self.capacity)

    def offset(self, slot: int) -> int:
        """Where a slot begins in the file."""
        check_slot(slot, self.capacity)
        return slot * self.layout.slot_bytes

    def read(self, slot: int, block: memoryview) -> None:
        """See `Store.read`."""
        count = os.preadv(self.fd, [block], self.offset(slot))
        if count < len(block):
            raise EOFError(f"short read: {count} of {len(block)} bytes")

    def write(self, slot: int, block: memoryview) -> None:
        """See `Store.write`."""
        done, start = 0, self.offset(slot)
        while done < len(block):  # a short write is gone on with: the next one brings the errno
            count = os.pwritev(self.fd, [block[done:]], start + done)
            if count == 0:
                raise OSError(errno.EIO, f"short write: {done} of {len(block)} bytes")
            done += count

    def sync(self) -> None:
        """See `Store.sync`. A slab that was deleted under us survives nothing, however well it is written."""
        os.fdatasync(self.fd)
        if not os.fstat(self.fd).st_nlink:
            raise OSError(errno.ENOENT, "the slab was deleted", str(self.path))

    def close(self) -> None:
        """Let go of file and lock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd, self.capacity = -1, 0  # no slot can be read or written any more

    def _pass_the_page_cache(self) -> bool:
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _logger.warning(
                "this file system cannot pass the page cache (O_DIRECT); blocks will take host memory twice",
                path=str(self.path),
            )
            return False
        return True
