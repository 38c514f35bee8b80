"""Mooncake Store, for bench_host: runs in Mooncake's interpreter with a master of its own, and answers a question a line.

The client owns the segment, so that a put and a get without a copy of their own (`put_from`, `get_into`) are a look-up at the master
and a memcpy. A question (see harness.Peer) names the way, `down` or `up`, and the blocks; the answer is a `mover_rounds.Sample`.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from ctypes import addressof, c_char
from pathlib import Path
from typing import Any

os.environ.setdefault("MC_TCP_BIND_ADDRESS", "127.0.0.1")
os.environ.setdefault("GLOG_minloglevel", "2")

from importlib.metadata import version

import mooncake.store  # type: ignore[import-not-found]

PACKAGE = "mooncake-transfer-engine-non-cuda"
MASTER_PORT, CLIENT_PORT = 51_151, 17_951
SEGMENT_BYTES, BUFFER_BYTES, SOURCE_BYTES = 2 << 30, 64 << 20, 512 << 20
LEASE_MS = 100
START_S = 30.0


def start_master() -> subprocess.Popen[bytes]:
    """A master on loopback, with short leases, so that a round can take away what the one before stored."""
    flags = [
        f"--rpc_port={MASTER_PORT}",
        "--rpc_address=127.0.0.1",
        "--metrics_host=127.0.0.1",
        f"--metrics_port={MASTER_PORT + 1}",
        "--rpc_thread_num=2",
        f"--default_kv_lease_ttl={LEASE_MS}",
    ]
    program = Path(mooncake.store.__file__).with_name("mooncake_master")  # the command of that name is a wrapper of it
    return subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def connect() -> Any:  # noqa: ANN401 - Mooncake's own
    """A client, as soon as the master answers."""
    end = time.monotonic() + START_S
    while True:
        store = mooncake.store.MooncakeDistributedStore()
        where = f"127.0.0.1:{CLIENT_PORT}", "P2PHANDSHAKE", SEGMENT_BYTES, BUFFER_BYTES, "tcp", ""
        if store.setup(*where, f"127.0.0.1:{MASTER_PORT}") == 0:
            return store
        assert time.monotonic() < end, "the master does not answer"
        time.sleep(0.2)


class Rounds:
    """Puts and gets of blocks that lie one after the other in this process's memory."""

    def __init__(self, store: Any) -> None:  # noqa: ANN401 - Mooncake's own
        self._store, self._number = store, 0
        self._memory = mmap.mmap(-1, SOURCE_BYTES)
        self._memory.write(os.urandom(1 << 20) * (SOURCE_BYTES >> 20))
        self._address = addressof(c_char.from_buffer(self._memory))
        assert store.register_buffer(self._address, SOURCE_BYTES) == 0
        self._keys: list[str] = []

    def down(self, count: int, size: int) -> float:
        """Seconds of all puts; those of the round before are removed."""
        time.sleep(2 * LEASE_MS / 1000)
        self._store.remove_all()
        self._number += 1
        self._keys = [f"{self._number}-{number}" for number in range(count)]
        started = time.perf_counter()
        for number, key in enumerate(self._keys):
            assert self._store.put_from(key, self._address + number * size, size) == 0
        return time.perf_counter() - started

    def up(self, count: int, size: int) -> float:
        """Seconds of all gets."""
        if len(self._keys) != count:
            self.down(count, size)
        started = time.perf_counter()
        for number, key in enumerate(self._keys):
            assert self._store.get_into(key, self._address + number * size, size) == size
        return time.perf_counter() - started


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Mooncake prints must not get between the answers
    master = start_master()
    try:
        rounds = Rounds(connect())
        print(json.dumps({"name": f"Mooncake {version(PACKAGE)}"}), file=answers, flush=True)
        for line in sys.stdin:
            question = json.loads(line)
            count, size = question["count"], question["block_bytes"]
            cpu = time.process_time()
            took = getattr(rounds, question["way"])(count, size)
            spent = time.process_time() - cpu
            answer = {"gb_per_s": count * size / took / 1e9, "cpu_us_per_block": spent / count * 1e6}
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        master.terminate()
        master.wait()
    os._exit(0)  # the client's threads do not stop by themselves


if __name__ == "__main__":
    main()
