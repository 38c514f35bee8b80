"""What tests of the tiers share: a disk that is full soon, and a memory host."""

import os
import shutil
import subprocess

import pytest

from support.memory_hosts import MemoryProcess
from support.movers import CAPACITY

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


@pytest.fixture(scope="session")
def memory_host(nats_url, tmp_path_factory):
    """A memory host that tests claim one after the other, each from its beginning."""
    with MemoryProcess(nats_url, tmp_path_factory.mktemp("memory"), capacity=CAPACITY) as host:
        yield host
