"""LMCache's backends in process, for bench_tiers and bench_host: runs in LMCache's interpreter and answers a question a line.

A question (see harness.Peer) names the medium, `disk` or `host`, the way, `down` (put) or `up` (get), and the blocks; the answer is
a `mover_rounds.Sample`. On disk all puts are given at once and awaited, all gets asked for in one call, past the page cache. In host
memory a put has the copy into the pool, and a get the copy out of it, as its connectors do.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("LMCACHE_LOG_LEVEL", "ERROR")
os.environ.setdefault("LMCACHE_TRACK_USAGE", "false")

import torch  # type: ignore[import-not-found]
from lmcache.utils import CacheEngineKey  # type: ignore[import-not-found]
from lmcache.v1.config import LMCacheEngineConfig  # type: ignore[import-not-found]
from lmcache.v1.memory_management import MemoryFormat  # type: ignore[import-not-found]
from lmcache.v1.metadata import LMCacheMetadata  # type: ignore[import-not-found]
from lmcache.v1.storage_backend.local_cpu_backend import LocalCPUBackend  # type: ignore[import-not-found]
from lmcache.v1.storage_backend.local_disk_backend import LocalDiskBackend  # type: ignore[import-not-found]

TOKEN_BYTES = 8 << 10
"""Of two layers, K and V, and 1,024 elements of two bytes."""
GIB = 1 << 30


class Backends:
    """Host memory and disk for chunks of one size."""

    def __init__(self, folder: str, block_bytes: int) -> None:
        tokens = block_bytes // TOKEN_BYTES
        self.shape = torch.Size((2, 2, tokens, 1024))
        config = LMCacheEngineConfig.from_defaults(
            chunk_size=tokens,
            local_cpu=True,
            max_local_cpu_size=1.5,
            local_disk=str(Path(folder) / "lmcache"),
            max_local_disk_size=4.0,
            lmcache_instance_id="bench",
            extra_config={"use_odirect": True},
        )
        metadata = LMCacheMetadata(
            model_name="m",
            world_size=1,
            local_world_size=1,
            worker_id=0,
            local_worker_id=0,
            kv_dtype=torch.float16,
            kv_shape=(2, 2, tokens, 8, 128),
        )
        self.host = LocalCPUBackend(config, metadata)
        self.disk = LocalDiskBackend(config, _loop(), self.host, metadata=metadata)
        self.source, self.target = (
            torch.randn(*self.shape).to(torch.float16),
            torch.empty(self.shape, dtype=torch.float16),
        )
        self.round = 0
        self.stored: list[Any] = []

    def new_chunk(self) -> Any:  # noqa: ANN401 - LMCache's own
        """A chunk of the pool, filled."""
        chunk = self.host.allocate(self.shape, torch.float16, MemoryFormat.KV_2LTD)
        assert chunk is not None, "the pool is full"
        chunk.tensor.copy_(self.source)
        return chunk

    def new_keys(self, count: int) -> list[Any]:
        """Keys that were never used before."""
        self.round += 1
        return [CacheEngineKey("m", 1, 0, self.round << 32 | number, torch.float16) for number in range(count)]

    def disk_down(self, count: int) -> float:
        """Seconds of a put of all; those of the round before are removed."""
        self.forget()
        chunks, self.stored = [self.new_chunk() for _ in range(count)], self.new_keys(count)
        started = time.perf_counter()
        self.disk.batched_submit_put_task(self.stored, chunks)
        while any(self.disk.exists_in_put_tasks(key) for key in self.stored):
            time.sleep(0.0005)
        took = time.perf_counter() - started
        for chunk in chunks:
            chunk.ref_count_down()
        assert all(self.disk.contains(key) for key in self.stored)
        return took

    def disk_up(self, count: int) -> float:
        """Seconds of a get of all."""
        if len(self.stored) != count:
            self.disk_down(count)
        started = time.perf_counter()
        chunks = self.disk.batched_get_blocking(self.stored)
        took = time.perf_counter() - started
        assert all(chunk is not None for chunk in chunks)
        for chunk in chunks:
            chunk.ref_count_down()
        return took

    def host_down(self, count: int) -> float:
        """Seconds of a put of all, the copy into the pool among it."""
        self.host.clear()
        self.stored = self.new_keys(count)
        started = time.perf_counter()
        for key in self.stored:
            chunk = self.new_chunk()
            self.host.submit_put_task(key, chunk)
            chunk.ref_count_down()
        return time.perf_counter() - started

    def host_up(self, count: int) -> float:
        """Seconds of a get of all, the copy out of the pool among it."""
        if len(self.stored) != count:
            self.host_down(count)
        started = time.perf_counter()
        for key in self.stored:
            chunk = self.host.get_blocking(key)
            self.target.copy_(chunk.tensor)
            chunk.ref_count_down()
        return time.perf_counter() - started

    def forget(self) -> None:
        """Take what was stored off the disk."""
        for key in self.stored:
            self.disk.remove(key)
        self.stored = []


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


@cache
def _backends(folder: str, block_bytes: int) -> Backends:
    _backends.cache_clear()  # one pool at a time
    return Backends(folder, block_bytes)


def _answer(question: dict[str, Any]) -> dict[str, float]:
    count, block_bytes = question["count"], question["block_bytes"]
    backends = _backends(question["folder"], block_bytes)
    cpu = time.process_time()
    took = getattr(backends, f"{question['medium']}_{question['way']}")(count)
    spent = time.process_time() - cpu
    return {"gb_per_s": count * block_bytes / took / 1e9, "cpu_us_per_block": spent / count * 1e6}


def main() -> None:
    """Answer until standard input ends."""
    torch.set_num_threads(1)  # or two threads that wait for each other make a copy slower where cores are few
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what LMCache prints must not get between the answers
    import lmcache  # noqa: PLC0415 - its version only

    print(json.dumps({"name": f"LMCache {lmcache.__version__}"}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)
    os._exit(0)  # the backends' threads do not stop by themselves


if __name__ == "__main__":
    main()
