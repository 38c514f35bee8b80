"""Everything killed and started again over 10,000 blocks on disk: seconds until it is ready, and how many blocks are found.

Owner (`kvbm serve`), tier worker and nats-server are processes. They store 10,000 blocks of 2 MiB (Llama 3.1 8B) in g3, with
bytes that their keys determine; with --quick, or where the disk has not the room, blocks of one page. Then all three are killed
with SIGKILL and started again, round after round. *Ready* is when the worker has met its owner; *found* is when every prompt was
looked up after that. The floor is the same three processes over nothing. `kvbm fsck`'s reading stands beside a bare
pool of as many threads that reads the same slots of the same file and hashes nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from harness import ROUNDS, Row, make_row
from kvbm_events.jetstream import JetStreamLog
from kvbm_nats.fsck import open_check
from kvbm_nats.nats_server import NatsServer
from kvbm_nats.publisher import Publisher
from kvbm_tiers import parse_media, preset
from kvbm_tiers.memory import anonymous

BLOCKS, PROMPT, THREADS = 10_000, 50, 8
SPARE = 2.5
"""How much more room the disk must have than the blocks take."""
NAMESPACE = "model=bench"
PEERS = (
    "quoted, not run here: LMCache 0.5.6 LocalDisk 0 of 400, Mooncake 0.3.13 0 of 200; NVIDIA's KVBM unlinks its file"
)
_WORKER = Path(__file__).parents[1] / "tests" / "processes" / "filled_worker.py"
PROMPTS = [[f"{number:016x}{at:016x}" for at in range(PROMPT)] for number in range(BLOCKS // PROMPT)]


class Site:
    """The files of one instance, and the processes over them."""

    def __init__(self, folder: Path, shared: Path, layout: str, instance: str) -> None:
        self._layout, self._instance = layout, instance
        self._folder, self._server = folder, NatsServer(folder / "nats")
        self.stores = [f"g2=arena:{shared}", f"g3=slab:{folder}"]
        self.slab = folder / "g3.slab"

    @contextmanager
    def alive(self) -> Iterator[float]:
        """All three, ready; how long that took. They are killed at the end."""
        began = time.perf_counter()
        self._server.start()
        url = self._server.url
        names = [f"--nats-url={url}", f"--instance={self._instance}", f"--namespace={NAMESPACE}"]
        serve = [sys.executable, "-m", "kvbm_nats.cli", "serve", *names, f"--tiers={self.plan}", "--workers=1"]
        work = [sys.executable, str(_WORKER), url, self._instance, NAMESPACE, self.plan, self._layout]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with (
            subprocess.Popen(serve, stderr=subprocess.DEVNULL, env=environment) as service,
            subprocess.Popen(
                [*work, str(self._folder), *self.stores], stdout=subprocess.PIPE, text=True, env=environment
            ) as worker,
        ):
            try:
                assert worker.stdout
                assert worker.stdout.readline() == "ready\n", "the worker did not come up"
                yield time.perf_counter() - began
            finally:
                for process in (service, worker):
                    process.send_signal(signal.SIGKILL)
                self._server.kill()

    @property
    def plan(self) -> str:
        """Device and host memory for a few prompts, and room on disk for all."""
        return f"g1={4 * PROMPT},g2={8 * PROMPT},g3={BLOCKS}"

    async def publisher(self) -> Publisher:
        """A client of the service."""
        return await Publisher.connect(self._server.url, self._instance)

    async def fsck(self) -> float:
        """Prove every block on disk; GB/s. nats-server runs alone."""
        self._server.start()
        log = await JetStreamLog.connect(self._server.url)
        try:
            check = await open_check(log, self._instance, [parse_media(self.stores)], threads=THREADS)
            report = await check.run(lambda _blocks: None)
        finally:
            await log.close()
            self._server.kill()
        found = next(tier for tier in report.tiers if tier.tier == "g3")
        assert (found.proven, report.sound) == (BLOCKS, True), report
        return found.gb_per_s


async def store(site: Site) -> None:
    """All blocks, down to disk."""
    async with await site.publisher() as client:
        for number, keys in enumerate(PROMPTS):
            async with client.request(f"r{number}") as request:
                await client.register(request, await client.allocate(request, PROMPT), keys)
            while (await client.status()).transfers:  # each answer comes with a turn of the owner's
                pass
        tiers = {tier.tier: tier.registered for tier in (await client.status()).tiers}
        assert tiers["g3"] == BLOCKS, tiers


async def found(site: Site) -> int:
    """How many of the blocks can be matched."""
    async with await site.publisher() as client:
        answers = [await client.match(f"l{n}", keys, hold=False) for n, keys in enumerate(PROMPTS)]
    return sum(len(hit.slots) for answer in answers for hit in answer.hits)


def bare(path: Path, slot_bytes: int) -> float:
    """Read the file by plain system calls, past the page cache; GB/s."""
    fd, size = os.open(path, os.O_RDONLY | os.O_DIRECT), path.stat().st_size
    piece = max(slot_bytes, 4 << 20)

    def share(first: int) -> None:
        memory = anonymous(piece)
        for at in range(first * piece, size, THREADS * piece):
            assert os.preadv(fd, [memory[: min(piece, size - at)]], at) > 0

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(share, range(THREADS)))
    os.close(fd)
    return size / (time.perf_counter() - began) / 1e9


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Store once, then kill and start again; all sides in turns."""
    rounds = 3 if quick else ROUNDS
    with (
        tempfile.TemporaryDirectory(prefix="kvbm-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="kvbm-bench-", dir="/dev/shm") as shared,
    ):
        needed = BLOCKS * preset("llama-8b").slot_bytes * SPARE
        layout = "tiny" if quick or shutil.disk_usage(folder).free < needed else "llama-8b"
        site = Site(Path(folder), Path(shared), layout, "warm")
        with site.alive():
            asyncio.run(store(site))
        ready, until_found, share, empty, read, floor = ([] for _ in range(6))  # type: ignore[var-annotated] # floats all
        for number in range(rounds):
            with site.alive() as took:
                began = time.perf_counter()
                share.append(asyncio.run(found(site)) / BLOCKS * 100)
                ready.append(took)
                until_found.append(took + time.perf_counter() - began)
            empty.append(_empty(Path(folder) / f"empty{number}", Path(shared) / f"empty{number}", layout))
            read.append(asyncio.run(site.fsck()))
            floor.append(bare(site.slab, preset(layout).slot_bytes))
        size = f"{preset(layout).block_bytes:,} bytes"
    what, nothing = f"restart over {BLOCKS:,} blocks of {size} on disk", "the same processes over nothing"
    bare_name = f"bare pool of {THREADS} threads"
    return [
        make_row(f"{what}: ready", "s", ready, theirs=empty, against=nothing),
        make_row(f"{what}: all looked up", "s", until_found, theirs=empty, against=f"{nothing}: ready"),
        make_row(f"{what}: matchable", "%", share, against=PEERS),
        make_row(f"fsck of {size} blocks", "GB/s", read, theirs=floor, against=bare_name, more_is_better=True),
    ]


def _empty(folder: Path, shared: Path, layout: str) -> float:
    """Start over nothing, at the same sizes; the room that a slab takes when it is made is given before."""
    site = Site(folder, shared, layout, "empty")
    with site.alive():
        pass
    with site.alive() as took:
        pass
    shutil.rmtree(folder)
    shutil.rmtree(shared)
    return took


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
