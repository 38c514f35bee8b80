"""A part of `bench_gpu`: from the device to disk and back, by GPUDirect Storage where it works, beside two hops over host memory."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from random import Random

from xxhash import xxh3_64_hexdigest

from gpu_path import step
from harness import Row, make_row
from kvbm_events.schema import TierName
from kvbm_kernels.driver import Driver
from kvbm_tiers import DiskSlab, Mover, NixlPosixMover, Store, ThreadMover, preset
from kvbm_tiers.cuda import GDS, CudaDevice, NixlDeviceMover, gds_flaw_of
from kvbm_tiers.errors import NixlUnavailable
from kvbm_tiers.memory import anonymous

LAYOUT = "llama-8b"
TWO_HOPS = "two hops over host memory"


def disk_rows(driver: Driver, folder: Path, total_bytes: int, rounds: int) -> list[Row]:
    """GB/s down and up, hashing and comparing included. Without GPUDirect Storage, of two hops alone, and why is said."""
    layout = preset(LAYOUT)
    count = max(2, total_bytes // layout.slot_bytes)
    with ExitStack() as taken:
        device = CudaDevice(driver, layout, 2 * count)
        taken.callback(device.close)
        slab = DiskSlab(folder / "gds-slab", namespace="bench", layout=layout, capacity=count)
        taken.callback(slab.close)
        sums, block = list[str](), anonymous(layout.slot_bytes)
        for slot in range(count):
            block[:] = Random(slot).randbytes(len(block))
            device.write(slot, block)
            sums.append(xxh3_64_hexdigest(block[: layout.block_bytes]))
        stores: dict[TierName, Store] = {"g1": device, "g3": slab}
        movers = {TWO_HOPS: _over_the_host(stores)}
        if why := gds_flaw_of(device, slab):
            print(f"GPUDirect Storage not measured: {why}", file=sys.stderr)
        else:
            movers["GPUDirect Storage"] = NixlDeviceMover({"g1": device, "g3": slab}, plugin=GDS)
        for mover in movers.values():
            taken.callback(mover.close)
        ways: list[tuple[TierName, TierName]] = [("g1", "g3"), ("g3", "g1")]
        rates: dict[tuple[str, tuple[TierName, TierName]], list[float]] = {each: [] for each in product(movers, ways)}
        for _ in range(rounds):
            for (name, way), found in rates.items():
                took_s = step(movers[name], *way, sums)
                found.append(count * layout.block_bytes / took_s / 1e9)
    rows = list[Row]()
    for source, tier in ways:
        what, hops = f"{LAYOUT}, {source} to {tier}, hashed and compared", rates[TWO_HOPS, (source, tier)]
        direct = rates.get(("GPUDirect Storage", (source, tier)))
        if direct:
            title = f"{what}, GPUDirect Storage"
            rows.append(make_row(title, "GB/s", direct, theirs=hops, against=TWO_HOPS, more_is_better=True))
        else:
            rows.append(make_row(f"{what}, two hops", "GB/s", hops))
    return rows


def _over_the_host(stores: dict[TierName, Store]) -> Mover:
    try:
        return NixlPosixMover(stores)
    except NixlUnavailable:
        return ThreadMover(stores)
