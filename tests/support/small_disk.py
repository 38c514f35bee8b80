"""A disk that is full soon."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of this size there. The test is skipped, loudly, where that cannot be done."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() or not mount or not umount:
        pytest.skip("NOT TESTED: a full disk; to mount a small file system takes root")
    folder.mkdir()
    options = f"size={size_bytes},mode=700"
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "kvbm-small", str(folder)], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"NOT TESTED: a full disk; mounting failed: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)


def fill(folder: Path, left_bytes: int = 0) -> Path:
    """A file that takes all the room there is, but for so much."""
    filler = folder / "filler"
    room = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left_bytes)
    return filler
