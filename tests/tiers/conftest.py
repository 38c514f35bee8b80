"""What tests of the tiers share: a disk that is full soon."""

import os
import shutil
import subprocess

import pytest

from support.object_servers import AZURE_CREDENTIALS, S3_CREDENTIALS, FakeS3, ObjectServers

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
def object_credentials():
    """What the environment has for the servers of tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**S3_CREDENTIALS, **AZURE_CREDENTIALS}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def object_servers(object_credentials, tmp_path_factory):
    """Object stores that tests share."""
    servers = ObjectServers(tmp_path_factory.mktemp("objects"))
    yield servers
    servers.close()


@pytest.fixture
def s3(object_credentials, tmp_path):
    """An S3 server of this test's own, to kill and to put faults into."""
    with FakeS3(tmp_path / "s3") as server:
        yield server
