"""Processes of ours that die with the one that started them, even if that one is killed.

They are started through a few lines of Python that ask the kernel for it (`PR_SET_PDEATHSIG`, Linux only) and then become
the command. `Popen`'s `preexec_fn` would do the same, but may deadlock in a process with threads. The kernel watches the
starting *thread*: start them from one that lives as long as they may.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

_DIE_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, int(sys.argv[2]), 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent was gone before its child was there")
os.execv(sys.argv[3], sys.argv[3:])
"""


def dying_with_parent(command: Sequence[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
    """What to start for the command, whose first word is a path; `number` is the signal that ends it."""
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), str(int(number)), *command]
