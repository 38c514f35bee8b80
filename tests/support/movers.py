"""Every kind of mover on stores of its own, ready to be driven by a test."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from kvbm_events.schema import TIERS, TierName
from kvbm_tiers import OBJECT_TIER, Job, MemoryMover, Mover, NixlObjectMover, Report
from kvbm_tiers.cpu_device import CpuDevice
from kvbm_tiers.cuda import CudaDevice, CudaMover, NixlDeviceMover, Way, Ways
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.job_book import wall_clock_us
from kvbm_tiers.layout import Layout
from kvbm_tiers.medium import Medium
from kvbm_tiers.memory import anonymous
from kvbm_tiers.nixl_posix_mover import NixlPosixMover
from kvbm_tiers.objects import Bucket
from kvbm_tiers.openers import Wanted, open_store
from kvbm_tiers.remote import NixlUcxMover
from kvbm_tiers.routed_mover import open_mover
from kvbm_tiers.store import Store
from kvbm_tiers.thread_mover import ThreadMover
from support.gpu import gds_plugin, gpu_driver
from support.nixl import by_nixl, marked
from support.object_servers import FakeS3, ObjectServers

CAPACITY = 64
PATIENCE_S = 30.0

KINDS: dict[str, tuple[TierName, TierName]] = {
    "memory g1-g2": ("g1", "g2"),
    "memory g2-g1": ("g2", "g1"),
    "thread g1-g2": ("g1", "g2"),
    "thread g2-g1": ("g2", "g1"),
    "thread g2-g3": ("g2", "g3"),
    "thread g3-g2": ("g3", "g2"),
    "thread g1-g3": ("g1", "g3"),
    "thread g3-g1": ("g3", "g1"),
    "nixl aio g2-g3": ("g2", "g3"),
    "nixl aio g3-g2": ("g3", "g2"),
    "nixl aio g1-g3": ("g1", "g3"),
    "nixl aio g3-g1": ("g3", "g1"),
    "nixl uring g2-g3": ("g2", "g3"),
    "nixl uring g3-g2": ("g3", "g2"),
    "nixl uring g1-g3": ("g1", "g3"),
    "nixl uring g3-g1": ("g3", "g1"),
    "ucx g1-g3": ("g1", "g3"),
    "ucx g2-g3": ("g2", "g3"),
    "ucx g3-g1": ("g3", "g1"),
    "ucx g3-g2": ("g3", "g2"),
    "routed g1-g2": ("g1", "g2"),
    "routed g3-g1": ("g3", "g1"),
    "cuda copies g1-g2": ("g1", "g2"),
    "cuda copies g2-g1": ("g2", "g1"),
    "cuda staged g1-g2": ("g1", "g2"),
    "cuda staged g2-g1": ("g2", "g1"),
    "cuda mapped g1-g2": ("g1", "g2"),
    "cuda mapped g2-g1": ("g2", "g1"),
    "gds posix g1-g3": ("g1", "g3"),
    "gds posix g3-g1": ("g3", "g1"),
    "gds vram g1-g3": ("g1", "g3"),
    "gds vram g3-g1": ("g3", "g1"),
    "obstore s3 g1-g4": ("g1", "g4"),
    "obstore s3 g2-g4": ("g2", "g4"),
    "obstore s3 g4-g2": ("g4", "g2"),
    "obstore s3 g3-g4": ("g3", "g4"),
    "obstore s3 g4-g1": ("g4", "g1"),
    "obstore az g2-g4": ("g2", "g4"),
    "obstore az g4-g2": ("g4", "g2"),
    "nixl s3 g1-g4": ("g1", "g4"),
    "nixl s3 g2-g4": ("g2", "g4"),
    "nixl s3 g4-g2": ("g4", "g2"),
    "nixl s3 g3-g4": ("g3", "g4"),
    "nixl s3 g4-g1": ("g4", "g1"),
    "nixl az g2-g4": ("g2", "g4"),
    "nixl az g4-g2": ("g4", "g2"),
}
PARAMS = [
    pytest.param(kind, marks=[pytest.mark.gpu, *([pytest.mark.nixl] if by_nixl(kind) else [])])
    if kind.startswith(("cuda", "gds"))
    else param
    for kind, param in zip(KINDS, marked(KINDS), strict=True)
]
"""The kinds as parameters of tests."""


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return wall_clock_us() + self.ahead_us


def key_of(slot: int) -> str:
    """The key of the block in a slot of object storage, in these tests."""
    return f"{slot:032x}"


def open_bucket(url: str, layout: Layout, capacity: int = CAPACITY, **more: object) -> Bucket:
    """Object storage as a stack opens it."""
    fields = {"tier": OBJECT_TIER, "medium": Medium.parse(url), "capacity": capacity, "layout": layout}
    bucket, _ = open_store(Wanted(**{**fields, "namespace": "m=1", "instance": "test", "reset": False, **more}))
    assert isinstance(bucket, Bucket)
    return bucket


def open_stores(folder: Path, layout: Layout, capacity: int = CAPACITY) -> dict[TierName, Store]:
    """One store of each kind: device, host, disk."""
    return {
        "g1": CpuDevice(layout, capacity),
        "g2": HostArena(folder / "arena", namespace="m=1", layout=layout, capacity=capacity),
        "g3": DiskSlab(folder / "slab", namespace="m=1", layout=layout, capacity=capacity),
    }


class Rig:
    """A mover, the two tiers that it moves between, and their bytes."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        layout: Layout,
        capacity: int = CAPACITY,
        servers: ObjectServers | FakeS3 | None = None,
        open_remote: Callable[[], Store] | None = None,
    ) -> None:
        self.kind, self.layout, self.capacity, self.clock = kind, layout, capacity, Clock()
        self._servers, self._open_remote = servers, open_remote
        self.source, self.tier = KINDS[kind]
        self.stores: dict[TierName, Store] = {}
        self.mover: Mover = self._open(folder)
        self._chance, self._numbers = Random(kind), itertools.count(1)

    def _open(self, folder: Path) -> Mover:
        if self.kind.startswith("memory"):
            return MemoryMover({"g1": self.capacity, "g2": self.capacity}, block_bytes=self.layout.block_bytes)
        driver = gpu_driver() if self.kind.startswith(("cuda", "gds")) else None
        plugin = gds_plugin(self.kind, folder) if self.kind.startswith("gds") else None
        self.stores = open_stores(folder, self.layout, self.capacity)
        if driver:
            for tier in ("g1", "g2" if plugin else "g3"):
                self.stores.pop(tier).close()
            self.stores["g1"] = CudaDevice(driver, self.layout, self.capacity)
            if plugin:
                return NixlDeviceMover(self.stores, plugin=plugin, now_us=self.clock)
            way: Way = next(way for way in get_args(Way) if way in self.kind)
            return CudaMover(self.stores, ways=Ways(way, way), now_us=self.clock)
        try:
            return self._open_over_stores(folder)
        except pytest.skip.Exception:
            for store in self.stores.values():
                store.close()
            raise

    def _open_over_stores(self, folder: Path) -> Mover:
        if OBJECT_TIER in {self.source, self.tier}:
            assert self._servers, "this kind takes a server"
            via, server, _ = self.kind.split()
            self.stores.pop("g3" if "g3" not in {self.source, self.tier} else "g1").close()
            url = (
                self._servers.url(folder.name, via=via)
                if isinstance(self._servers, FakeS3)
                else self._servers.url(server, folder.name, via=via)
            )
            self.stores[OBJECT_TIER] = bucket = open_bucket(url, self.layout, self.capacity)
            return NixlObjectMover(self.stores, bucket, now_us=self.clock) if via == "nixl" else self._routed()
        if self.kind.startswith("ucx"):
            assert self._open_remote, "this kind takes a memory host"
            self.stores["g3"].close()
            self.stores["g3"] = self._open_remote()
            return NixlUcxMover(self.stores, "g3", now_us=self.clock)
        if self.kind.startswith("routed"):
            return self._routed()
        if self.kind.startswith("thread"):
            return ThreadMover(self.stores, now_us=self.clock)
        return NixlPosixMover(self.stores, engine="uring" if "uring" in self.kind else "aio", now_us=self.clock)

    def _routed(self) -> Mover:
        return open_mover(self.stores, now_us=self.clock)

    @property
    def absent(self) -> TierName:
        """A tier that the mover has no way to."""
        return next(tier for tier in TIERS[::-1] if tier not in self.stores)

    def close(self) -> None:
        """The mover first, then what it moves between."""
        self.mover.close()
        for store in self.stores.values():
            store.close()

    def put(self, slot: int, data: bytes, tier: TierName | None = None) -> None:
        """Write a block into a slot, of the source if no tier is named."""
        tier = tier or self.source
        if isinstance(self.mover, MemoryMover):
            self.mover.block(tier, slot)[:] = data
            return
        block = anonymous(self.layout.slot_bytes)
        block[: len(data)] = data
        if isinstance(store := self.stores[tier], Bucket):
            store.assign([slot], [key_of(slot)])
        store.write(slot, block)

    def fill(self, slot: int) -> bytes:
        """Write a block of chance into a slot of the source."""
        data = self._chance.randbytes(self.layout.block_bytes)
        self.put(slot, data)
        return data

    def get(self, slot: int) -> bytes:
        """The block in a slot of the destination."""
        if isinstance(self.mover, MemoryMover):
            return bytes(self.mover.block(self.tier, slot))
        block = anonymous(self.layout.slot_bytes)
        self.stores[self.tier].read(slot, block)
        return bytes(block[: self.layout.block_bytes])

    def job(self, sources: Sequence[int], slots: Sequence[int], **more: object) -> Job:
        """A job from source to destination, with a minute's time."""
        fields = {
            "transfer": f"1.{next(self._numbers)}",
            "source": self.source,
            "tier": self.tier,
            "source_slots": sources,
            "slots": slots,
            "keys": [key_of(slot) for slot in (sources if self.source == OBJECT_TIER else slots)],
            "deadline_us": wall_clock_us() + 60_000_000,
            **more,
        }
        return Job(**fields)

    def reports(self, count: int) -> list[Report]:
        """Reports that say of this many blocks that nothing more will happen to them."""
        return collect(self.mover, lambda reports: sum(len(r.slots) for r in reports if r.stopped) >= count)


def collect(mover: Mover, is_enough: Callable[[list[Report]], bool]) -> list[Report]:
    """Poll until the reports are enough."""
    reports, deadline = mover.poll(), time.monotonic() + PATIENCE_S
    while not is_enough(reports):
        assert time.monotonic() < deadline, reports
        time.sleep(0.0005)
        reports += mover.poll()
    return reports
