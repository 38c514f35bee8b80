"""A part of `bench_gpu`: xxh3-64 of blocks made on the device, beside the host's library in one thread."""

from __future__ import annotations

import time
from contextlib import ExitStack
from random import Random

from xxhash import xxh3_64_hexdigest

from harness import Row, make_row
from kvbm_kernels.driver import Driver
from kvbm_tiers.cuda import DeviceHash
from kvbm_tiers.memory import anonymous

SIZES = [64 << 10, 512 << 10, 2 << 20]
COUNTS = [8, 128]
"""Blocks at once: what one batch of large blocks has, and what all lanes together have."""
AGAINST = "xxhash on the host, one thread"


def hash_rows(driver: Driver, rounds: int) -> list[Row]:
    """GB/s of each size and number of blocks, timed from the launch to the checksums in the host's memory; they must be the host's."""
    return [_row(driver, size, count, rounds) for size in SIZES for count in COUNTS]


def _row(driver: Driver, size: int, count: int, rounds: int) -> Row:
    ours, theirs = list[float](), list[float]()
    with ExitStack() as taken:
        here, stream, memory = driver.allocate(count * size), driver.make_stream(), anonymous(count * size)
        taken.callback(driver.free, here)
        taken.callback(driver.destroy_stream, stream)
        hashing = DeviceHash(driver, count)
        taken.callback(hashing.close)
        memory[:] = Random(1).randbytes(len(memory))
        driver.upload(here, bytes(memory))
        places, blocks = (range(start, start + count * size, size) for start in (here, 0))
        for turn in range(rounds + 1):
            started = time.perf_counter()
            hashing.start(places, size, stream)
            driver.await_stream(stream)
            found = hashing.found(count, size)
            between = time.perf_counter()
            expected = [xxh3_64_hexdigest(memory[at : at + size]) for at in blocks]
            ended = time.perf_counter()
            assert found == expected, "the device does not hash as the host does"
            if turn:  # the first one makes things ready
                ours.append(count * size / (between - started) / 1e9)
                theirs.append(count * size / (ended - between) / 1e9)
    what = f"hash on the device, {count} blocks of {size >> 10} KiB"
    return make_row(what, "GB/s", ours, theirs=theirs, against=AGAINST, more_is_better=True)
