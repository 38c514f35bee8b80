"""One worker a rank and machine, kept by a lock on a file: a worker that was stopped (SIGSTOP) may yet wake up and write.

The kernel lets go of the lock when the process ends, however it ends.
"""

from __future__ import annotations

import os
from pathlib import Path

from kvbm_events.schema.errors import KvbmError
from kvbm_events.subjects import check_instance
from kvbm_tiers.file_lock import try_lock


class RankTaken(KvbmError):
    """Another worker of the same rank is alive on this machine."""


class RankClaim:
    """The lock of one rank, from its making to `release`."""

    def __init__(self, folder: Path, instance: str, rank: int) -> None:
        """Take the lock.

        Raises:
            RankTaken: another process, or another worker in this one, has it.
        """
        path = folder / f"kvbm-worker-{check_instance(instance)}-{rank}.lock"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not try_lock(self._file):
            os.close(self._file)
            raise RankTaken(
                f"rank {rank} of {instance!r} has a worker",
                why=f"{path} is locked",
                hint="end the other worker first; one that was stopped may still write",
            )

    def release(self) -> None:
        """Let go. The file stays, since removing it would race with the next claim."""
        os.close(self._file)
