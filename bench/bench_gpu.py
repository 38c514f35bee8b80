"""Device to host and back, each way, beside what the driver can do with the same bytes; the kernel beside a copy on the device; and all
the way to disk and back by the movers, every block compared.

Pages are 16 KiB to 2 MiB: of layers that lie apart (a block has 16 pages), and of blocks in one piece. Slots are in an order of chance.
A round copies all blocks once, in one stream, and is timed by the device's own events. `plain` is one pinned `cudaMemcpyAsync` of as
many bytes; torch, where it is there, gathers each layer by `index_select` and copies that. SM time is what the kernel holds its
multiprocessors for. `gpu_hash` has the hash on the device beside the host's, `gpu_disk` the way to disk by GPUDirect Storage beside two
hops. Nothing is measured without a GPU.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from gpu_disk import disk_rows
from gpu_hash import hash_rows
from gpu_path import whole_path
from harness import ROUNDS, Row, make_row
from kvbm_kernels.detect import detect_cuda
from kvbm_kernels.driver import Driver
from kvbm_tiers import Group, Layout
from kvbm_tiers.cuda import CudaDevice, Lane, Way, calibrate
from kvbm_tiers.memory import address_of, anonymous

PAGES = [16 << 10, 32 << 10, 64 << 10, 256 << 10, 2 << 20]
AIM_PAGE_BYTES, AIM, KERNEL_AIM = 64 << 10, 0.9, 0.85
PIECES = 16
TOTAL_BYTES, QUICK_BYTES = 512 << 20, 64 << 20
PLAIN = "plain pinned copy of as many bytes"


class Shape(NamedTuple):
    """What is copied."""

    title: str
    layout: Layout
    page_bytes: int


def run(quick: bool, total_bytes: int = 0) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Every page size, shape and direction."""
    state = detect_cuda()
    if not state.is_on:
        print(f"gpu not measured: {state.why}", file=sys.stderr)
        return []
    driver, rounds = Driver(), 3 if quick else ROUNDS
    total = total_bytes or (QUICK_BYTES if quick else TOTAL_BYTES)
    rows = [row for shape in _shapes(quick) for row in _of_shape(driver, shape, total, rounds)]
    rows += hash_rows(driver, rounds)
    with tempfile.TemporaryDirectory(prefix="kvbm-bench-") as folder:
        rows += whole_path(driver, Path(folder), total // 4, rounds)
        rows += disk_rows(driver, Path(folder), total // 4, rounds)
    return rows


def _shapes(quick: bool) -> Iterator[Shape]:  # noqa: FBT001 - as above
    for page in PAGES[:: 2 if quick else 1]:
        size = {"tokens": 1, "heads": 1, "dtype": "int8", "head_size": page}
        apart = Group(name="k", layers=PIECES // 2, **size)  # type: ignore[arg-type] # of one dictionary
        whole = Group(name="k", layers=1, outer=1, arrangement="contiguous", **size)  # type: ignore[arg-type] # the same
        yield Shape(f"{page >> 10} KiB pages, layers apart", Layout(groups=(apart,)), page)
        yield Shape(f"{page >> 10} KiB blocks, in one piece", Layout(groups=(whole,)), page)


class _Field:
    """A pool, pinned memory for all of its blocks, and a lane with room for them."""

    def __init__(self, driver: Driver, layout: Layout, total: int, taken: ExitStack) -> None:
        self.driver, self.layout = driver, layout
        self.count = min(4096, max(1, total // layout.slot_bytes))
        self.device = CudaDevice(driver, layout, self.count)
        taken.callback(self.device.close)
        self.memory = anonymous(self.count * layout.slot_bytes)
        driver.pin(address_of(self.memory), len(self.memory))
        taken.callback(driver.unpin, address_of(self.memory))
        self.lane = Lane(self.device.pool, self.count)
        taken.callback(self.lane.close)
        self.slots = Random(1).sample(range(self.count), self.count)
        self.blocks = [address_of(self.memory) + at * layout.slot_bytes for at in range(self.count)]
        self.size = self.count * layout.block_bytes
        self.flat = driver.allocate(self.size)
        taken.callback(driver.free, self.flat)
        self.stream = driver.make_stream()
        taken.callback(driver.destroy_stream, self.stream)

    def rate(self, go: Callable[[int], None]) -> float:
        """GB/s of what `go` gives to a stream."""
        with _timed(self.driver, self.stream) as took_s:
            go(self.stream)
        return self.size / took_s() / 1e9

    def by_lane(self, way: Way, down: bool) -> float:  # noqa: FBT001 - down or up
        """GB/s of a lane, which has a stream of its own and waits for it."""
        with _timed(self.driver, self.stream) as took_s:
            (self.lane.down if down else self.lane.up)(self.slots, self.blocks, way)
        return self.size / took_s() / 1e9

    def plain(self, down: bool) -> float:  # noqa: FBT001 - the same
        """GB/s of one copy."""
        host = address_of(self.memory)
        ends = ([host], [self.flat]) if down else ([self.flat], [host])
        return self.rate(lambda stream: self.driver.copy(*ends, [self.size], stream, in_order=True))


@contextmanager
def _timed(driver: Driver, stream: int) -> Iterator[Callable[[], float]]:
    """The seconds between two events around what is done within; the stream has nothing else."""
    start, end = driver.make_event(timed=True), driver.make_event(timed=True)
    driver.record(start, stream)
    yield lambda: driver.elapsed_s(start, end)
    driver.record(end, stream)
    driver.await_event(end)


def _of_shape(driver: Driver, shape: Shape, total: int, rounds: int) -> list[Row]:
    rows, ways = list[Row](), calibrate(driver, shape.layout)
    with ExitStack() as taken:
        field = _Field(driver, shape.layout, total, taken)
        torch = _Torch.load(shape.layout, field)
        for down in (True, False):
            chosen, direction = ways.down if down else ways.up, "device to host" if down else "host to device"
            sides: dict[str, Callable[[], float]] = {
                "ours": lambda down=down, way=chosen: field.by_lane(way, down),
                PLAIN: lambda down=down: field.plain(down),
                "cudaMemcpyBatchAsync": lambda down=down: field.by_lane("copies", down),
            }
            if torch:
                sides["torch, a gather and a copy a layer"] = lambda down=down, torch=torch: torch.rate(down)
            samples = _in_turns(sides, rounds)
            what, own = f"{direction}, {shape.title} ({chosen})", samples.pop("ours")
            for name, theirs in samples.items():
                aim = AIM if name == PLAIN and shape.page_bytes >= AIM_PAGE_BYTES else None
                rows.append(make_row(what, "GB/s", own, theirs=theirs, against=name, aim=aim, more_is_better=True))
        rows += _of_kernel(field, shape, rounds)
    return rows


def _of_kernel(field: _Field, shape: Shape, rounds: int) -> list[Row]:
    """The gather on all multiprocessors beside a copy, and what it takes of them as it is used."""
    pool, driver = field.device.pool, field.driver
    packed = [field.flat + at * shape.layout.block_bytes for at in range(field.count)]
    other = driver.allocate(field.size)
    used, all_of_them = pool.ctas, driver.multiprocessors * 8

    def gather(ctas: int) -> float:
        pool.ctas = ctas
        rate = field.rate(lambda stream: pool.launch(field.slots, packed, stream, to_pool=False))
        pool.ctas = used
        return rate

    def copy() -> float:
        return field.rate(lambda stream: driver.copy([other], [field.flat], [field.size], stream, in_order=True))

    samples = _in_turns({"ours": lambda: gather(all_of_them), "copy": copy, "used": lambda: gather(used)}, rounds)
    driver.free(other)
    against, what = "copy on the device", f"gather kernel, {shape.title}"
    held = [shape.layout.block_bytes / rate / 1e3 for rate in samples["used"]]
    return [
        make_row(
            what, "GB/s", samples["ours"], theirs=samples["copy"], against=against, aim=KERNEL_AIM, more_is_better=True
        ),
        make_row(f"{what}: SM time, {used} CTAs", "µs/block", held),
    ]


def _in_turns(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    for side in sides.values():
        side()  # the first time, things are made ready
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            samples[name].append(side())
    return samples


class _Torch:
    """The same bytes as a user of torch would move them."""

    def __init__(self, torch: Any, layout: Layout, field: _Field) -> None:  # noqa: ANN401 - a peer that need not be there
        (group,) = layout.groups
        self._torch, self._size, self._count = torch, field.size, field.count
        self._ids = torch.tensor(field.slots, device="cuda")
        rows = 1 if group.arrangement == "contiguous" else group.layers * group.outer
        shape = (field.count, layout.block_bytes // rows)
        self._pools = [torch.zeros(shape, dtype=torch.uint8, device="cuda") for _ in range(rows)]
        self._host = [torch.zeros(shape, dtype=torch.uint8, pin_memory=True) for _ in range(rows)]

    @classmethod
    def load(cls, layout: Layout, field: _Field) -> _Torch | None:
        """Make the tensors; None without torch, or without CUDA in it."""
        try:
            torch = importlib.import_module("torch")
        except ImportError:
            return None
        return cls(torch, layout, field) if torch.cuda.is_available() else None

    def rate(self, down: bool) -> float:  # noqa: FBT001 - down or up
        """GB/s."""
        start, end = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for pool, host in zip(self._pools, self._host, strict=True):
            if down:
                host.copy_(pool.index_select(0, self._ids), non_blocking=True)
            else:
                pool.index_copy_(0, self._ids, host.to("cuda", non_blocking=True))
        end.record()
        end.synchronize()
        return float(self._size / (start.elapsed_time(end) / 1e3) / 1e9)


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
