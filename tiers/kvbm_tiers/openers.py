"""What opens the store of a tier, by the scheme of its medium."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand, NamespaceMismatch
from kvbm_kernels.driver import Driver
from kvbm_tiers.cpu_device import CpuDevice
from kvbm_tiers.cuda import CudaDevice, open_shared
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.layout import Layout, refuse_other
from kvbm_tiers.medium import Medium
from kvbm_tiers.mover import OBJECT_TIER
from kvbm_tiers.objects import BlockObjects, Bucket, Names, Place, open_client
from kvbm_tiers.store import Opening, Store


class Wanted(Struct, frozen=True, kw_only=True):
    """A tier to be opened.

    :ivar reset: start empty, whatever is there
    :ivar instance: whose blocks they are
    """

    tier: TierName
    medium: Medium
    capacity: int
    layout: Layout
    namespace: str
    reset: bool
    instance: str


Opener = Callable[[Wanted], tuple[Store, Opening | None]]
"""The store, and what became of its blocks; None where nothing survives."""


def open_store(wanted: Wanted) -> tuple[Store, Opening | None]:
    """Open the store of a tier, or make it.

    Raises:
        InvalidCommand: there is no such medium, or its URL lacks something.
        CudaUnavailable, CudaFailed: the GPU cannot be used, or has no room.
        NamespaceMismatch, StoreBusy, StoreFull, StoreDamaged: see `survivor.claim`.
        StoreUnavailable, ObstoreUnavailable: object storage cannot be reached.
    """
    opener = OPENERS.get(wanted.medium.scheme)
    if opener is None:
        known = ", ".join(OPENERS)
        raise InvalidCommand(f"store {wanted.tier}={wanted.medium}", why="there is no such medium", hint=known)
    return opener(wanted)


def _cpu(wanted: Wanted) -> tuple[Store, Opening | None]:
    wanted.medium.take()
    return CpuDevice(wanted.layout, wanted.capacity), None


def _cuda(wanted: Wanted) -> tuple[Store, Opening | None]:
    """`cuda:0`, memory of a GPU; `cuda:/path`, the pool that an engine on GPU 0 (or `?device=…`) shares in that file."""
    path, device = wanted.medium.path, wanted.medium.take("device").get("device", "0")
    if path.isdecimal():
        return CudaDevice(Driver(int(path)), wanted.layout, wanted.capacity), None
    if not path.startswith("/") or not device.isdecimal():
        raise InvalidCommand(
            f"store {wanted.tier}={wanted.medium}", why="it names no GPU", hint=f"{wanted.tier}=cuda:0"
        )
    shared = open_shared(Driver(int(device)), Path(path).read_bytes())
    try:
        wanted.layout.check(shared.layout)
        refuse_other("capacity", wanted.capacity, shared.capacity)
    except NamespaceMismatch:
        shared.close()
        raise
    return shared, None


def _survivor(kind: type[HostArena | DiskSlab], wanted: Wanted) -> tuple[Store, Opening | None]:
    medium = wanted.medium
    medium.take()
    if medium.host or not medium.path:
        raise InvalidCommand(
            f"store {wanted.tier}={medium}",
            why="it names no folder",
            hint=f"{wanted.tier}={medium.scheme}:/path/of/a/folder",
        )
    store = kind(
        Path(medium.path) / f"{wanted.tier}.{medium.scheme}",
        namespace=wanted.namespace,
        layout=wanted.layout,
        capacity=wanted.capacity,
        reset=wanted.reset,
    )
    return store, store.opening


def _bucket(wanted: Wanted) -> tuple[Store, Opening | None]:
    if wanted.tier != OBJECT_TIER:
        raise InvalidCommand(
            f"store {wanted.tier}={wanted.medium}",
            why="objects are named by their blocks' keys, which only g4's are",
            hint=f"{OBJECT_TIER}={wanted.medium}",
        )
    place = Place.of(wanted.medium)
    names = Names.of(place.prefix, wanted.namespace, wanted.layout, wanted.instance)
    bucket = Bucket(
        BlockObjects(open_client(place), names, place),
        namespace=wanted.namespace,
        layout=wanted.layout,
        capacity=wanted.capacity,
        reset=wanted.reset,
    )
    return bucket, bucket.opening


OPENERS: Mapping[str, Opener] = {
    "cpu": _cpu,
    "cuda": _cuda,
    "arena": lambda wanted: _survivor(HostArena, wanted),
    "slab": lambda wanted: _survivor(DiskSlab, wanted),
    "s3": _bucket,
    "az": _bucket,
}
