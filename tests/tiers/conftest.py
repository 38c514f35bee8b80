"""What tests of the tiers share: a disk that is full soon, and a memory host."""

import pytest

from support import small_disk as disks
from support.memory_hosts import MemoryProcess
from support.movers import CAPACITY

SMALL_BYTES = 256 << 10


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    with disks.small_disk(tmp_path / "small", SMALL_BYTES) as folder:
        yield folder


@pytest.fixture(scope="session")
def memory_host(nats_url, tmp_path_factory):
    """A memory host that tests claim one after the other, each from its beginning."""
    with MemoryProcess(nats_url, tmp_path_factory.mktemp("memory"), capacity=CAPACITY) as host:
        yield host
