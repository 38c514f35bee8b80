"""Whether a process on this machine has ended, asked of the kernel: what UCX copies between two processes of one machine
is written by one of them alone, and goes on for as long as that one lives.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME_SPACE = Path("/proc/self/ns/pid")
_PIDS_MAX = 1 << 22  # Linux has no more


class ProcessName(Struct, frozen=True, kw_only=True):
    """A process, anywhere.

    :ivar machine: the boot and the name space of process numbers, which is what UCX, too, takes for one machine
    """

    machine: Annotated[str, Meta(max_length=128)]
    pid: Annotated[int, Meta(ge=1, le=_PIDS_MAX)]


def this_process() -> ProcessName:
    """The name of this one."""
    return ProcessName(machine=f"{_BOOT_ID.read_text().strip()}/{_NAME_SPACE.readlink()}", pid=os.getpid())


class Neighbour:
    """A process to keep an eye on.

    :ivar is_here: whether it is, or was, on this machine
    """

    def __init__(self, name: ProcessName) -> None:
        """Look now, while the number is still its own."""
        self.is_here = name.machine == this_process().machine
        self._handle = -1
        if self.is_here:
            with suppress(ProcessLookupError):
                self._handle = os.pidfd_open(name.pid)

    @property
    def is_gone(self) -> bool:
        """Whether it was on this machine, and all of its threads have ended."""
        return self.is_here and (self._handle < 0 or bool(select.select([self._handle], [], [], 0)[0]))

    def forget(self) -> None:
        """Look no more: `is_gone` is true from here on if it was here."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
