"""Host to disk and back: GB/s and CPU a block of each mover, beside a bare pool of threads on the same file, and LMCache.

Blocks lie where chance put them, in jobs of 32, all given at once. A mover hashes every block, compares those that it loads, and
syncs each job before it reports it. The bare pool has eight threads with `preadv` and `pwritev` on the same descriptor, past the
page cache; it hashes nothing and syncs once, at the end. The slab was written before, so no round pays for its room. LMCache, where
`KVBM_BENCH_LMCACHE_PYTHON` names an interpreter that has it, writes a file a block past the page cache, hashes and syncs nothing.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from random import Random

from xxhash import xxh3_64_hexdigest

from harness import ROUNDS, Peer, Row, find_peer, note_row
from kvbm_events.schema import TierName
from kvbm_tiers import DiskSlab, Group, HostArena, Layout, Mover, NixlPosixMover, Store, ThreadMover
from kvbm_tiers.errors import NixlUnavailable
from mover_rounds import Side, asked, by_mover, compare, timed

AIMS = {64 << 10: 0.8, 512 << 10: 0.9, 2 << 20: 0.9}
BARE_THREADS = 8
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where arenas live
BARE = f"bare pool of {BARE_THREADS} threads"


class Field:
    """An arena and a slab of one block size, full of chance."""

    def __init__(self, folder: Path, shared: Path, block_bytes: int, total_bytes: int) -> None:
        shape = Group(name="b", layers=1, outer=1, tokens=1, heads=1, head_size=block_bytes, dtype="int8")
        layout, self.count = Layout(groups=(shape,)), total_bytes // block_bytes
        self.arena = HostArena(shared / "arena", namespace="bench", layout=layout, capacity=self.count)
        self.slab = DiskSlab(folder / "slab", namespace="bench", layout=layout, capacity=self.count)
        assert self.slab.is_direct, f"{folder} is on a file system without O_DIRECT; set TMPDIR to another"
        self.block_bytes = block_bytes
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

    def by_mover(self, mover: Mover, *, down: bool) -> Side:
        """All blocks in jobs, given at once."""
        pairs = [(slot, place) if down else (place, slot) for slot, place in enumerate(self.places)]
        path: tuple[TierName, TierName] = ("g2", "g3") if down else ("g3", "g2")
        return timed(partial(by_mover, mover, path, pairs, self.sums), self.count, self.block_bytes)

    def bare(self, pool: ThreadPoolExecutor, *, down: bool) -> Side:
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

        return timed(move, self.count, self.block_bytes)


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Every size and way, all sides in turns."""
    rows, missing = list[Row](), list[str]()
    lmcache, absent = find_peer("LMCache", "KVBM_BENCH_LMCACHE_PYTHON", "peer_lmcache.py")
    try:
        for block_bytes, aim in AIMS.items():
            rows += _of_size(block_bytes, aim, lmcache, missing, quick=quick)
    finally:
        if lmcache:
            lmcache.close()
    return rows + [note_row(note) for note in [*missing[:1], absent] if note]


def _of_size(block_bytes: int, aim: float, lmcache: Peer | None, missing: list[str], *, quick: bool) -> list[Row]:
    total_bytes, rounds = (64 << 20, 3) if quick else (512 << 20, ROUNDS)
    rows = list[Row]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvbm-bench-")))
        shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvbm-bench-", dir=SHARED_MEMORY)))
        field = stack.enter_context(closing(Field(folder, shared, block_bytes, total_bytes)))
        stores: dict[TierName, Store] = {"g2": field.arena, "g3": field.slab}
        movers: dict[str, Mover] = {"threads": stack.enter_context(closing(ThreadMover(stores)))}
        try:
            movers["NIXL"] = stack.enter_context(closing(NixlPosixMover(stores)))
        except NixlUnavailable as error:
            missing.append(f"NIXL not measured: {error}")
        pool = stack.enter_context(ThreadPoolExecutor(BARE_THREADS))
        for down in (True, False):
            ours = {name: field.by_mover(mover, down=down) for name, mover in movers.items()}
            others = {BARE: field.bare(pool, down=down)}
            if lmcache:
                question = {"medium": "disk", "folder": str(folder), "block_bytes": block_bytes, "count": field.count}
                others[f"{lmcache.name}, LocalDisk"] = asked(lmcache, way="down" if down else "up", **question)
            what = f"{'host to disk' if down else 'disk to host'}, {block_bytes >> 10} KiB"
            rows += compare(what, ours, others, rounds, {BARE: aim})
    return rows


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
