"""Device memory to host memory and back, in one process without a GPU: GB/s and CPU a block, beside memcpy, LMCache and Mooncake.

The device is an engine's contiguous array in host memory. The mover's eight threads copy each block and hash it, and compare those
that come up. The floor is the same threads with a memcpy a block. LMCache's host pool and Mooncake's store, where
`KVBM_BENCH_LMCACHE_PYTHON` and `KVBM_BENCH_MOONCAKE_PYTHON` name interpreters that have them, copy with one thread, block by block, as
their connectors do, and hash nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from ctypes import memmove
from functools import partial
from pathlib import Path
from random import Random

from xxhash import xxh3_64_hexdigest

from harness import ROUNDS, Peer, Row, find_peer, note_row
from kvbm_events.schema import TierName
from kvbm_tiers import CpuDevice, Group, HostArena, Layout, ThreadMover
from kvbm_tiers.memory import address_of
from mover_rounds import Side, asked, by_mover, compare, timed

SIZES = (64 << 10, 512 << 10, 2 << 20)
THREADS = 8
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where arenas live
FLOOR = f"memcpy, {THREADS} threads"


class Field:
    """A device and an arena of one block size, the device full of chance."""

    def __init__(self, folder: Path, block_bytes: int, total_bytes: int) -> None:
        shape = Group(
            name="b",
            layers=1,
            outer=1,
            tokens=1,
            heads=1,
            head_size=block_bytes,
            dtype="int8",
            arrangement="contiguous",
        )
        layout, self.count = Layout(groups=(shape,)), total_bytes // block_bytes
        self.block_bytes = block_bytes
        self.device = CpuDevice(layout, self.count)
        self.arena = HostArena(folder / "arena", namespace="bench", layout=layout, capacity=self.count)
        chance = Random(1)
        self.places = chance.sample(range(self.count), self.count)
        piece = bytearray(chance.randbytes(block_bytes))
        self.sums = list[str]()
        (array,) = self.device.arrays
        for slot in range(self.count):
            piece[:8] = slot.to_bytes(8, "little")
            array[slot * block_bytes : (slot + 1) * block_bytes] = piece
            self.sums.append(xxh3_64_hexdigest(piece))

    def by_mover(self, mover: ThreadMover, *, down: bool) -> Side:
        """All blocks in jobs, given at once."""
        pairs = [(slot, place) if down else (place, slot) for slot, place in enumerate(self.places)]
        path: tuple[TierName, TierName] = ("g1", "g2") if down else ("g2", "g1")
        return timed(partial(by_mover, mover, path, pairs, self.sums), self.count, self.block_bytes)

    def by_memcpy(self, pool: ThreadPoolExecutor, *, down: bool) -> Side:
        """All blocks, each thread a share of them in one go."""
        size, here, there = self.block_bytes, address_of(self.device.arrays[0]), self.arena.address

        def share(first: int) -> None:
            for slot in range(first, self.count, THREADS):
                device, host = here + slot * size, there + self.places[slot] * size
                memmove(host if down else device, device if down else host, size)

        return timed(lambda: all(pool.map(share, range(THREADS))), self.count, size)


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Every size and way, all sides in turns."""
    rows, notes = list[Row](), list[str]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvbm-bench-")))
        peers = dict[str, Callable[..., Side]]()
        for title, script, part in (("LMCache", "peer_lmcache.py", ", LocalCPU"), ("Mooncake", "peer_mooncake.py", "")):
            peer, absent = find_peer(title, f"KVBM_BENCH_{title.upper()}_PYTHON", script)
            if peer:
                stack.callback(peer.close)
                peers[peer.name + part] = partial(_ask, peer, folder)
            else:
                notes.append(absent)
        for block_bytes in SIZES:
            rows += _of_size(block_bytes, peers, quick=quick)
    return rows + [note_row(note) for note in notes]


def _ask(peer: Peer, folder: Path, way: str, block_bytes: int, count: int) -> Side:
    return asked(peer, medium="host", folder=str(folder), way=way, block_bytes=block_bytes, count=count)


def _of_size(block_bytes: int, peers: dict[str, Callable[..., Side]], *, quick: bool) -> list[Row]:
    total_bytes, rounds = (64 << 20, 3) if quick else (512 << 20, ROUNDS)
    rows = list[Row]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvbm-bench-", dir=SHARED_MEMORY)))
        field = Field(folder, block_bytes, total_bytes)
        stack.enter_context(closing(field.arena))
        mover = stack.enter_context(closing(ThreadMover({"g1": field.device, "g2": field.arena})))
        pool = stack.enter_context(ThreadPoolExecutor(THREADS))
        for down in (True, False):
            others = {FLOOR: field.by_memcpy(pool, down=down)}
            others |= {name: ask("down" if down else "up", block_bytes, field.count) for name, ask in peers.items()}
            what = f"{'device to host' if down else 'host to device'}, {block_bytes >> 10} KiB"
            rows += compare(what, {"threads": field.by_mover(mover, down=down)}, others, rounds, {})
    return rows


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
