"""A part of `bench_gpu`: the whole path, device to host to disk and back again, by the movers of a plan, every block compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

from xxhash import xxh3_64_hexdigest

from harness import Row, make_row
from kvbm_events.schema import TierName
from kvbm_kernels.driver import Driver
from kvbm_tiers import DiskSlab, HostArena, Job, Mover, Store, open_mover, preset
from kvbm_tiers.cuda import CudaDevice
from kvbm_tiers.memory import anonymous

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where arenas live
LAYOUT = "llama-8b"
JOB_BLOCKS = 16
PATH: list[tuple[TierName, TierName]] = [("g1", "g2"), ("g2", "g3"), ("g3", "g2"), ("g2", "g1")]
TIMEOUT_S = 120.0


def whole_path(driver: Driver, folder: Path, total_bytes: int, rounds: int) -> list[Row]:
    """GB/s of each step, hashing and comparing included; a block that is not what it was ends the benchmark."""
    layout = preset(LAYOUT)
    count = max(2, total_bytes // layout.slot_bytes)
    arena = SHARED_MEMORY / f"kvbm-bench-gpu-{folder.name}"
    with ExitStack() as taken:
        taken.callback(lambda: [path.unlink() for path in SHARED_MEMORY.glob(f"{arena.name}*")])
        stores: dict[TierName, Store] = {
            "g1": CudaDevice(driver, layout, 2 * count),
            "g2": HostArena(arena, namespace="bench", layout=layout, capacity=count),
            "g3": DiskSlab(folder / "slab", namespace="bench", layout=layout, capacity=count),
        }
        for store in stores.values():
            taken.callback(store.close)
        mover = open_mover(stores)
        taken.callback(mover.close)
        block, sums = anonymous(layout.slot_bytes), list[str]()
        for slot in range(count):
            block[:] = Random(slot).randbytes(len(block))
            stores["g1"].write(slot, block)
            sums.append(xxh3_64_hexdigest(block[: layout.block_bytes]))
        rates: dict[tuple[TierName, TierName], list[float]] = {step: [] for step in PATH}
        for _ in range(rounds):
            for source, tier in PATH:
                took_s = step(mover, source, tier, sums)
                rates[source, tier].append(count * layout.block_bytes / took_s / 1e9)
        for slot in range(count):
            stores["g1"].read(count + slot, block)
            assert xxh3_64_hexdigest(block[: layout.block_bytes]) == sums[slot], f"block {slot} is not what it was"
    return [
        make_row(f"{LAYOUT}, {source} to {tier}, hashed and compared", "GB/s", own)
        for (source, tier), own in rates.items()
    ]


def step(mover: Mover, source: TierName, tier: TierName, sums: Sequence[str]) -> float:
    """Move all blocks; what comes up to the device goes to its other half. Seconds."""
    behind, started = len(sums) if tier == "g1" else 0, time.perf_counter()
    for first in range(0, len(sums), JOB_BLOCKS):
        slots = range(first, min(first + JOB_BLOCKS, len(sums)))
        job = Job(
            transfer=f"{source}{tier}{first}",
            source=source,
            tier=tier,
            source_slots=slots,
            slots=[behind + slot for slot in slots],
            keys=["0" * 32] * len(slots),
            deadline_us=1 << 62,
            checksums=[sums[slot] for slot in slots],
        )
        mover.submit(job)
    left = len(sums)
    while left:
        for report in mover.poll():
            assert not report.reason, report.reason
            left -= len(report.slots)
        assert time.perf_counter() - started < TIMEOUT_S, f"{left} blocks did not arrive"
        time.sleep(0.0002)
    return time.perf_counter() - started
