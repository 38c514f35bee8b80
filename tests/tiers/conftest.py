"""What tests of the tiers share: a disk that is full soon."""

import os
import shutil
import subprocess

import pytest

SMALL_BYTES = 256 << 10


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    mount = shutil.which("mount")
    if os.geteuid() or not mount:
        pytest.skip("NOT TESTED: a full disk; to mount a small file system takes root")
    folder = tmp_path / "small"
    folder.mkdir()
    options = f"size={SMALL_BYTES},mode=700"
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "kvbm-small", str(folder)], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"NOT TESTED: a full disk; mounting failed: {made.stderr.strip()}")
    yield folder
    subprocess.run([shutil.which("umount"), "--lazy", str(folder)], check=True)
