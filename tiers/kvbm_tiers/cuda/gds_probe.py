"""Bytes from a GPU to a disk and back by GPUDirect Storage, as a program: it prints why that does not work, or an empty line.

python -m kvbm_tiers.cuda.gds_probe FOLDER DEVICE
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from kvbm_events.schema.errors import KvbmError
from kvbm_kernels.driver import Driver
from kvbm_tiers.cuda.device_hash import DeviceHash
from kvbm_tiers.cuda.disk_mover import GDS, Plugin
from kvbm_tiers.cuda.gds import prepare_gds
from kvbm_tiers.memory import anonymous
from kvbm_tiers.nixl_agent import Far, NixlAgent, NixlTransferFailed, Row

SIZE = 64 << 10
TIMEOUT_S = 10.0


def round_trip(driver: Driver, folder: Path, plugin: Plugin) -> str:
    """Write `SIZE` bytes of a device to a new file, compare, read them to another place, compare; what went wrong, if anything.

    Raises:
        CudaFailed, NixlUnavailable, OSError: it could not be tried.
        NixlTransferFailed: a transfer failed.
    """
    with ExitStack() as taken:
        fd, path = tempfile.mkstemp(prefix=".kvbm-gds-", dir=folder)
        taken.callback(os.close, fd)
        os.posix_fallocate(fd, 0, SIZE)
        direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        taken.callback(os.close, direct)
        Path(path).unlink()
        here = driver.allocate(2 * SIZE)
        taken.callback(driver.free, here)
        data = os.urandom(SIZE)
        driver.upload(here, data + bytes(SIZE))
        memory, file = [(here, 2 * SIZE, driver.index)], [(0, SIZE, direct)]
        agent = NixlAgent("kvbm-gds-probe", plugin.name, plugin.parameters, memory, file, kind=plugin.kind)
        far = [Far(0, SIZE, fd=direct)]
        _transfer(agent, "WRITE", [(here, SIZE, driver.index)], far)
        there = anonymous(SIZE)
        os.preadv(direct, [there], 0)
        if bytes(there) != data:
            return "what was written to disk from the device is not what was there"
        _transfer(agent, "READ", [(here + SIZE, SIZE, driver.index)], far)
        agent.close()
        came = _checksum(driver, here + SIZE)
    return "" if came == xxh3_64_hexdigest(data) else "what was read from disk to the device is not what was there"


def _transfer(agent: NixlAgent, operation: str, memory: Sequence[Row], far: Sequence[Far]) -> None:
    handle = agent.post("READ" if operation == "READ" else "WRITE", memory, far)
    give_up_at_s = time.monotonic() + TIMEOUT_S
    while not agent.is_over(handle):
        if time.monotonic() > give_up_at_s:
            raise NixlTransferFailed(f"a transfer did not end within {TIMEOUT_S:g} s")
        time.sleep(0.0001)
    agent.release(handle)


def _checksum(driver: Driver, address: int) -> str:
    hashing, stream = DeviceHash(driver, 1), driver.make_stream()
    try:
        hashing.start([address], SIZE, stream)
        driver.await_stream(stream)
        return hashing.found(1, SIZE)[0]
    finally:
        driver.destroy_stream(stream)
        hashing.close()


def _probe(folder: Path, device: int) -> str:
    try:
        driver = Driver(device)  # first of all: without a GPU the plug-in is not asked
        prepare_gds()
        return round_trip(driver, folder, GDS)
    except (KvbmError, NixlTransferFailed, OSError) as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.stdout.write(_probe(Path(sys.argv[1]), int(sys.argv[2])).replace("\n", " ") + "\n")
    sys.stdout.flush()
    os._exit(0)  # libraries that plug-ins brought along may not survive the interpreter's end
