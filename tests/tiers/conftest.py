"""What tests of the tiers share: a disk that is full soon."""

import pytest

from support import small_disk as disks

SMALL_BYTES = 256 << 10


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    with disks.small_disk(tmp_path / "small", SMALL_BYTES) as folder:
        yield folder
