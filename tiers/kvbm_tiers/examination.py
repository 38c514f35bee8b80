"""Looking at a survivor's file from outside: no lock is taken and no byte is written, so that whoever has it goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from msgspec import Struct

from kvbm_tiers import sidecar
from kvbm_tiers.block_move import reason_of
from kvbm_tiers.errors import StoreDamaged
from kvbm_tiers.sidecar import Sidecar


class Expected(Struct, frozen=True, kw_only=True):
    """What should be in a file.

    :ivar contents: their name; empty where nobody has told it
    """

    namespace: str
    capacity: int
    contents: str = ""


def examine(path: Path, expected: Expected) -> tuple[Sidecar | None, str]:
    """What the sidecar says is in the file, and why its blocks are not the expected ones; empty if they may be."""
    try:
        found = sidecar.load(path)
        size = path.stat(follow_symlinks=False).st_size
    except StoreDamaged as error:
        return None, f"its sidecar cannot be read: {error.why}"
    except FileNotFoundError:
        return None, "it is missing"
    except OSError as error:
        return None, reason_of(error)
    if found is None:
        return None, "nothing tells what is in it: its sidecar is missing"
    return found, _flaw(found, size, expected)


def _flaw(found: Sidecar, size: int, expected: Expected) -> str:
    if found.namespace != expected.namespace:
        return f"its namespace is {found.namespace!r}, and the log's is {expected.namespace!r}"
    if found.capacity != expected.capacity:
        return f"it has {found.capacity} slots, and the log's tier {expected.capacity}"
    if size != found.size:
        return f"it has {size} of {found.size} bytes: it was cut or grew"
    if expected.contents and found.incarnation != expected.contents:
        return f"it was reset, or is another file: its contents are {found.incarnation}, the log's {expected.contents}"
    return ""


class SlotReader:
    """Reads packed blocks of a survivor's file. Any thread may call `read`."""

    def __init__(self, path: Path, found: Sidecar) -> None:
        """Open the file, past the page cache where that can be.

        Raises:
            OSError: it cannot be opened.
        """
        self.block_bytes, self.slot_bytes = found.block_bytes, found.slot_bytes
        flags = os.O_RDONLY | os.O_NOFOLLOW
        try:
            self._fd = os.open(path, flags | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._fd = os.open(path, flags)

    def read(self, first: int, count: int, memory: memoryview) -> list[memoryview]:
        """Neighbouring slots, a block each, in page-aligned `memory` that has room for them.

        Raises:
            OSError: they could not be read whole.
        """
        size = count * self.slot_bytes
        done = os.preadv(self._fd, [memory[:size]], first * self.slot_bytes)
        if done < size:
            raise OSError(errno.EIO, f"short read: {done} of {size} bytes")
        return [memory[at : at + self.block_bytes] for at in range(0, size, self.slot_bytes)]

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)
