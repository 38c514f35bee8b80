"""Host to object storage and back: MB/s and CPU a block of both movers, beside bare clients of the same server.

The server is the tests' own, on loopback, in a process of its own that shares the machine's cores: figures are of the
clients' making as much as of its. With 20 ms more for each answer, as in a network, it waits and does not work. A mover
hashes every block, and compares those that it loads. The bare clients have as many requests under way as the mover by
obstore, 32: obstore itself in a pool of threads, and the standard library's HTTP, which signs and hashes nothing.
"""

from __future__ import annotations

import http.client
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import NamedTuple

from xxhash import xxh3_64_hexdigest

from harness import ROUNDS, Row, make_row
from kvbm_events.schema import TierName
from kvbm_tiers import Bucket, Group, HostArena, Job, Layout, Medium, Mover, Store, open_mover
from kvbm_tiers.objects import open_client
from kvbm_tiers.objects.place import REQUESTS
from kvbm_tiers.openers import Wanted, open_store
from object_server import BUCKET, ObjectServer

SIZES = (64 << 10, 512 << 10, 2 << 20)
FAR_SIZES = SIZES[:2]
LATENCY_S = 0.02
JOB_BLOCKS = 32
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where arenas live
NAMES = {"obstore": "by obstore", "nixl": "by NIXL OBJ"}
PLAIN, BARE = f"plain HTTP, {REQUESTS} connections", f"bare obstore, {REQUESTS} threads"


class Sample(NamedTuple):
    """One side in one round."""

    mb_per_s: float
    cpu_us_per_block: float


Side = Callable[[], None]
"""Moves all blocks once."""


class Field:
    """An arena full of chance, and a bucket by either way, of one block size."""

    def __init__(self, server: ObjectServer, shared: Path, block_bytes: int, count: int) -> None:
        shape = Group(name="b", layers=1, outer=1, tokens=1, heads=1, head_size=block_bytes, dtype="int8")
        layout = Layout(groups=(shape,))
        self.block_bytes, self.count, self.server = block_bytes, count, server
        self.arena = HostArena(shared / "arena", namespace="bench", layout=layout, capacity=count)
        self.buckets = {via: self._bucket(server.url(via), layout, via) for via in ("obstore", "nixl")}
        piece = Random(1).randbytes(block_bytes)
        self.keys, self.sums = [f"{slot:032x}" for slot in range(count)], list[str]()
        for slot in range(count):
            view = self.arena.view(slot)
            view[:] = piece
            view[:8] = slot.to_bytes(8, "little")
            self.sums.append(xxh3_64_hexdigest(view))

    def _bucket(self, url: str, layout: Layout, instance: str) -> Bucket:
        medium = Medium.parse(url)
        wanted = Wanted(
            tier="g4",
            medium=medium,
            capacity=self.count,
            layout=layout,
            namespace="bench",
            reset=False,
            instance=instance,
        )
        bucket, _ = open_store(wanted)
        assert isinstance(bucket, Bucket)
        return bucket

    def close(self) -> None:
        """Let go of all."""
        for bucket in self.buckets.values():
            bucket.close()
        self.arena.close()

    def by_mover(self, mover: Mover, down: bool) -> Side:  # noqa: FBT001 - down or up
        """All blocks in jobs, given at once."""
        source: TierName = "g2" if down else "g4"
        tier: TierName = "g4" if down else "g2"

        def move() -> None:
            for first in range(0, self.count, JOB_BLOCKS):
                slots = range(first, min(first + JOB_BLOCKS, self.count))
                mover.submit(
                    Job(
                        transfer=str(first),
                        source=source,
                        tier=tier,
                        source_slots=slots,
                        slots=slots,
                        keys=self.keys[slots.start : slots.stop],
                        deadline_us=1 << 62,
                        checksums=self.sums[slots.start : slots.stop],
                    )
                )
            arrived = 0
            while arrived < self.count:
                time.sleep(0.0005)
                for report in mover.poll():
                    assert not report.reason, report
                    arrived += len(report.slots)

        return move

    def bare(self, pool: ThreadPoolExecutor, down: bool) -> Side:  # noqa: FBT001 - down or up
        """All blocks by obstore, one after the other in each thread."""
        client = open_client(self.buckets["obstore"].blocks.place)

        def move_one(slot: int) -> None:
            act = client.put if down else client.get
            act(f"bare/{self.block_bytes}/{slot}", self.arena.view(slot)[: self.block_bytes])

        return lambda: _all(pool.map(move_one, range(self.count)))

    def plain(self, pool: ThreadPoolExecutor, down: bool) -> Side:  # noqa: FBT001 - down or up
        """All blocks by plain HTTP, a connection a thread."""

        def share(first: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
            for slot in range(first, self.count, REQUESTS):
                path, view = f"/{BUCKET}/plain-{self.block_bytes}-{slot}", self.arena.view(slot)
                connection.request("PUT" if down else "GET", path, view if down else None)
                answer = connection.getresponse()
                assert (answer.read() == b"") if down else (answer.readinto(view) == len(view))
            connection.close()

        return lambda: _all(pool.map(share, range(REQUESTS)))

    def sample(self, side: Side) -> Sample:
        """Time one side."""
        started, cpu = time.perf_counter(), time.process_time()
        side()
        took, spent = time.perf_counter() - started, time.process_time() - cpu
        return Sample(self.count * self.block_bytes / took / 1e6, spent / self.count * 1e6)


def _all(results: object) -> None:
    list(results)  # type: ignore[call-overload] # a map raises what its calls raised when it is read


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Every size and way, all sides in turns; then again with an answer that takes its time."""
    rows, rounds = list[Row](), 3 if quick else ROUNDS
    with ExitStack() as stack:
        shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvbm-bench-", dir=SHARED_MEMORY)))
        server = stack.enter_context(ObjectServer(shared / "objects"))
        for latency_s, sizes in ((0.0, SIZES), (LATENCY_S, FAR_SIZES)):
            server.set_latency(latency_s)
            for block_bytes in sizes:
                total = (32 if quick else 128) << 20
                count = min(total // block_bytes, 256 if quick else 1024)
                rows += _measure(server, shared / f"{block_bytes}-{latency_s}", block_bytes, count, latency_s, rounds)
    return rows


def _measure(
    server: ObjectServer,
    shared: Path,
    block_bytes: int,
    count: int,
    latency_s: float,
    rounds: int,
) -> list[Row]:
    rows = list[Row]()
    with ExitStack() as stack:
        field = stack.enter_context(closing(Field(server, shared, block_bytes, count)))
        pool = stack.enter_context(ThreadPoolExecutor(REQUESTS))
        movers = dict[str, Mover]()
        for via, bucket in field.buckets.items():
            stores: dict[TierName, Store] = {"g2": field.arena, "g4": bucket}
            movers[via] = stack.enter_context(closing(open_mover(stores)))
        for down in (True, False):
            sides = {via: field.by_mover(mover, down) for via, mover in movers.items()}
            sides |= {BARE: field.bare(pool, down), PLAIN: field.plain(pool, down)}
            way = f"{'put' if down else 'get'}, {block_bytes >> 10} KiB" + (f", {latency_s:.2g} s" if latency_s else "")
            rows += _compare(field, sides, way, rounds)
    return rows


def _compare(field: Field, sides: dict[str, Side], way: str, rounds: int) -> list[Row]:
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            samples[name].append(field.sample(side))
    bare, plain = samples.pop(BARE), samples.pop(PLAIN)
    rows = list[Row]()
    for via, own in samples.items():
        what, rate = f"{way}, {NAMES[via]}", _column(own, 0)
        rows.append(make_row(what, "MB/s", rate, theirs=_column(bare, 0), against=BARE, more_is_better=True))
        rows.append(make_row(what, "MB/s", rate, theirs=_column(plain, 0), against=PLAIN, more_is_better=True))
        rows.append(make_row(f"{what}: CPU", "µs/block", _column(own, 1), theirs=_column(bare, 1), against=BARE))
    return rows


def _column(samples: Sequence[Sample], at: int) -> list[float]:
    return [sample[at] for sample in samples]


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
