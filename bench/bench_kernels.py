"""The kernel on the CPU beside `memmove` from Python, which stands in where there is no compiler; and what hashing a block costs.

A pool of 64 slots and 32 blocks of 8 layers, K and V, slots in an order of chance; a round gathers all of them. `layered` is the
engine's order, `universal` the one with the heads outside. The hash is `xxh3_64_hexdigest`, one thread. Times are of the thread's CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from xxhash import xxh3_64_hexdigest

from harness import ROUNDS, Row, make_row
from kvbm_kernels import BoxTable, CpuKernel, HostKernel, PlainKernel, compile_for_cpu
from kvbm_tiers import Group, Layout
from kvbm_tiers.geometry import boxes_of, dense
from kvbm_tiers.layout import Packing
from kvbm_tiers.memory import address_of, anonymous

SLOTS, BLOCKS, REPEATS = 64, 32, 3
HEADS, TOKENS = 8, 16
SHAPES: list[tuple[Packing, int]] = [
    ("layered", 1 << 10),
    ("layered", 4 << 10),
    ("layered", 32 << 10),
    ("universal", 32 << 10),
]
HASHED = [64 << 10, 512 << 10, 2 << 20]
AGAINST = "memmove from Python"


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Every page size, both kernels in turns; then the hash."""
    rounds = 3 if quick else ROUNDS
    rows = [_gather(packing, page, rounds) for packing, page in SHAPES]
    for size in HASHED:
        memory = anonymous(64 << 20)
        memory[:] = Random(1).randbytes(len(memory))
        blocks = [memory[at : at + size] for at in range(0, len(memory), size)]
        rates = [
            len(memory) / _seconds(lambda blocks=blocks: [xxh3_64_hexdigest(b) for b in blocks]) / 1e9
            for _ in range(rounds)
        ]
        rows.append(make_row(f"hash, blocks of {size >> 10} KiB", "GB/s", rates))
    return rows


def _gather(packing: Packing, page: int, rounds: int) -> Row:
    group = Group(name="k", layers=8, tokens=TOKENS, heads=HEADS, head_size=page // TOKENS // HEADS, dtype="int8")
    layout = Layout(groups=(group,), packing=packing)
    arrays = [anonymous(array.size) for array in layout.arrays(SLOTS)]
    table = BoxTable(boxes_of(layout, dense(layout, SLOTS, [*map(address_of, arrays)])))
    packed, slots = anonymous(BLOCKS * layout.slot_bytes), Random(1).sample(range(SLOTS), BLOCKS)
    blocks = [address_of(packed) + at * layout.slot_bytes for at in range(BLOCKS)]

    def rate(kernel: HostKernel) -> float:
        took_s = _seconds(lambda: [kernel.copy_blocks(table, blocks, slots, to_pool=False) for _ in range(REPEATS)])
        return REPEATS * BLOCKS * layout.block_bytes / took_s / 1e9

    kernels: list[HostKernel] = [CpuKernel(compile_for_cpu()), PlainKernel()]
    for kernel in kernels:
        rate(kernel)
    ours, theirs = zip(*[[rate(kernel) for kernel in kernels] for _ in range(rounds)], strict=True)
    what = f"gather, pages of {page >> 10} KiB, {packing}"
    return make_row(what, "GB/s", ours, theirs=theirs, against=AGAINST, aim=1.0, more_is_better=True)


def _seconds(work: Callable[[], object]) -> float:
    """Of this thread's CPU, so that a busy neighbour is not counted."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
