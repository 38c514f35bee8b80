"""Host to disk and back: GB/s and CPU a block of each mover, beside a bare pool of threads that reads and writes the same file.

Blocks lie where chance put them, in jobs of 32, all given at once. A mover hashes every block, compares those that it loads, and
syncs each job before it reports it. The bare pool has eight threads with `preadv` and `pwritev` on the same descriptor, past the
page cache; it hashes nothing and syncs once, at the end. The slab was written before, so no round pays for its room.
"""

from __future__ import annotations

import os
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
from kvbm_tiers import DiskSlab, Group, HostArena, Job, Layout, Mover, NixlPosixMover, Store, ThreadMover
from kvbm_tiers.errors import NixlUnavailable

AIMS = {64 << 10: 0.8, 512 << 10: 0.9, 2 << 20: 0.9}
JOB_BLOCKS = 32
BARE_THREADS = 8
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where arenas live
BARE = f"bare pool of {BARE_THREADS} threads"


class Sample(NamedTuple):
    """One side in one round."""

    gb_per_s: float
    cpu_us_per_block: float


Side = Callable[[], None]
"""Moves all blocks once."""


class Field:
    """An arena and a slab of one block size, full of chance."""

    def __init__(self, folder: Path, shared: Path, block_bytes: int, total_bytes: int) -> None:
        shape = Group(name="b", layers=1, outer=1, tokens=1, heads=1, head_size=block_bytes, dtype="int8")
        layout, self.count = Layout(groups=(shape,)), total_bytes // block_bytes
        self.arena = HostArena(shared / "arena", namespace="bench", layout=layout, capacity=self.count)
        self.slab = DiskSlab(folder / "slab", namespace="bench", layout=layout, capacity=self.count)
        assert self.slab.is_direct, f"{folder} is on a file system without O_DIRECT; set TMPDIR to another"
        self.block_bytes, self.block_count = block_bytes, self.count
        chance = Random(1)
        self.places = chance.sample(range(self.count), self.count)
        piece = chance.randbytes(block_bytes)
        self.sums = list[str]()
        for slot, place in enumerate(self.places):
            view = self.arena.view(slot)
            view[:] = piece
            view[:8] = slot.to_bytes(8, "little")
            self.sums.append(xxh3_64_hexdigest(view))
            self.slab.write(place, view)
        self.slab.sync()

    def close(self) -> None:
        """Let go of both."""
        self.arena.close()
        self.slab.close()

    def by_mover(self, mover: Mover, down: bool) -> Side:  # noqa: FBT001 - down or up
        """All blocks in jobs, given at once."""
        source: TierName = "g2" if down else "g3"
        tier: TierName = "g3" if down else "g2"

        def move() -> None:
            for first in range(0, self.count, JOB_BLOCKS):
                slots, places = range(first, first + JOB_BLOCKS), self.places[first : first + JOB_BLOCKS]
                job = Job(
                    transfer=str(first),
                    source=source,
                    tier=tier,
                    source_slots=slots if down else places,
                    slots=places if down else slots,
                    keys=["0" * 32] * JOB_BLOCKS,
                    deadline_us=1 << 62,
                    checksums=self.sums[first : first + JOB_BLOCKS],
                )
                mover.submit(job)
            arrived = 0
            while arrived < self.count:
                time.sleep(0.0005)
                for report in mover.poll():
                    assert not report.reason, report
                    arrived += len(report.slots)

        return move

    def bare(self, pool: ThreadPoolExecutor, down: bool) -> Side:  # noqa: FBT001 - down or up
        """All blocks by plain system calls, each thread a share of them in one go."""
        size, fd = self.block_bytes, self.slab.fd
        call = os.pwritev if down else os.preadv

        def share(first: int) -> None:
            for slot in range(first, self.count, BARE_THREADS):
                assert call(fd, [self.arena.view(slot)], self.places[slot] * size) == size

        def move() -> None:
            list(pool.map(share, range(BARE_THREADS)))
            if down:
                os.fdatasync(fd)

        return move

    def sample(self, side: Side) -> Sample:
        """Time one side."""
        started, cpu = time.perf_counter(), time.process_time()
        side()
        took, spent = time.perf_counter() - started, time.process_time() - cpu
        return Sample(self.count * self.block_bytes / took / 1e9, spent / self.count * 1e6)


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Every size and way, all sides in turns."""
    rows, missing = list[Row](), ""
    for block_bytes, aim in AIMS.items():
        total_bytes, rounds = (64 << 20, 3) if quick else (512 << 20, ROUNDS)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvbm-bench-")))
            shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvbm-bench-", dir=SHARED_MEMORY)))
            field = stack.enter_context(closing(Field(folder, shared, block_bytes, total_bytes)))
            stores: dict[TierName, Store] = {"g2": field.arena, "g3": field.slab}
            movers: dict[str, Mover] = {"threads": stack.enter_context(closing(ThreadMover(stores)))}
            try:
                movers["NIXL"] = stack.enter_context(closing(NixlPosixMover(stores)))
            except NixlUnavailable as error:
                missing = f"NIXL not measured: {error}"
            pool = stack.enter_context(ThreadPoolExecutor(BARE_THREADS))
            for down in (True, False):
                sides = {name: field.by_mover(mover, down) for name, mover in movers.items()}
                sides[BARE] = field.bare(pool, down)
                rows += _compare(field, sides, "host to disk" if down else "disk to host", aim, rounds)
    if missing:
        rows[0]["against"] += f"; {missing}"
    return rows


def _compare(field: Field, sides: dict[str, Side], way: str, aim: float, rounds: int) -> list[Row]:
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            samples[name].append(field.sample(side))
    bare, size = samples.pop(BARE), f"{field.block_bytes >> 10} KiB"
    rows = list[Row]()
    for name, own in samples.items():
        what = f"{way}, {size}, {name}"
        rate, bare_rate = _column(own, 0), _column(bare, 0)
        rows.append(make_row(what, "GB/s", rate, theirs=bare_rate, against=BARE, aim=aim, more_is_better=True))
        rows.append(make_row(f"{what}: CPU", "µs/block", _column(own, 1), theirs=_column(bare, 1), against=BARE))
    return rows


def _column(samples: Sequence[Sample], at: int) -> list[float]:
    return [sample[at] for sample in samples]


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
