"""What opens the store of a tier, by the scheme of its medium."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

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
from kvbm_tiers.remote.keeper import LinkOptions
from kvbm_tiers.remote.store import RemoteMemory
from kvbm_tiers.store import Opening, Store


class Wanted(Struct, frozen=True, kw_only=True):
    """A tier to be opened.

    :ivar reset: start empty, whatever is there
    :ivar instance: whose blocks they are
    :ivar nats_url: where a memory host is asked; empty where nobody said
    """

    tier: TierName
    medium: Medium
    capacity: int
    layout: Layout
    namespace: str
    reset: bool
    instance: str
    nats_url: str = ""


Opener = Callable[[Wanted], tuple[Store, Opening | None]]
"""The store, and what became of its blocks; None where nothing survives."""


def open_store(wanted: Wanted) -> tuple[Store, Opening | None]:
    """Open the store of a tier, or make it.

    Raises:
        InvalidCommand: there is no such medium, or its URL lacks something.
        CudaUnavailable, CudaFailed: the GPU cannot be used, or has no room.
        NamespaceMismatch, StoreBusy, StoreFull, StoreDamaged: see `survivor.claim`.
        StoreUnavailable, ObstoreUnavailable: object storage cannot be reached.
        LogUnavailable, MemoryUnavailable: a memory host cannot be reached.
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


FILE_OPTIONS = {"slab": ("gds",)}
"""What may stand behind the folder of a tier that lies in a file, by scheme."""


class _Contents(TypedDict):
    """What a file of blocks is opened for."""

    namespace: str
    layout: Layout
    capacity: int
    reset: bool


def file_of(tier: TierName, medium: Medium) -> Path:
    """The file of a tier that lies in one, in an arena or a slab.

    Raises:
        InvalidCommand: the URL names no folder, or has options that such a file has not.
    """
    medium.take(*FILE_OPTIONS.get(medium.scheme, ()))
    if medium.host or not medium.path:
        raise InvalidCommand(
            f"store {tier}={medium}", why="it names no folder", hint=f"{tier}={medium.scheme}:/path/of/a/folder"
        )
    return Path(medium.path) / f"{tier}.{medium.scheme}"


def _arena(wanted: Wanted) -> tuple[Store, Opening | None]:
    arena = HostArena(file_of(wanted.tier, wanted.medium), **_contents(wanted))
    return arena, arena.opening


def _slab(wanted: Wanted) -> tuple[Store, Opening | None]:
    """`slab:/path`; with `?gds=no`, blocks go to and from a GPU over host memory, whatever the machine can do."""
    path, gds = file_of(wanted.tier, wanted.medium), wanted.medium.options.get("gds", "auto")
    if gds not in {"auto", "no"}:
        raise InvalidCommand(
            f"store {wanted.tier}={wanted.medium}",
            why=f"gds={gds} is neither auto nor no",
            hint=f"{wanted.tier}={wanted.medium}?gds=no",
        )
    slab = DiskSlab(path, may_gds=gds == "auto", **_contents(wanted))
    return slab, slab.opening


def _contents(wanted: Wanted) -> _Contents:
    return {
        "namespace": wanted.namespace,
        "layout": wanted.layout,
        "capacity": wanted.capacity,
        "reset": wanted.reset,
    }


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


def _ucx(wanted: Wanted) -> tuple[Store, Opening | None]:
    medium = wanted.medium
    options = medium.take("dead_after_s")
    if not medium.host or medium.path or not wanted.nats_url:
        raise InvalidCommand(
            f"store {wanted.tier}={medium}",
            why="it names no memory host"
            if wanted.nats_url
            else "a memory host is asked over NATS, and no server is named",
            hint=f"{wanted.tier}=ucx://NAME, as in `kvbm memory --name NAME`",
        )
    text = options.get("dead_after_s", f"{LinkOptions().dead_after_s}")
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise InvalidCommand(f"store {wanted.tier}={medium}", why=f"dead_after_s={text} is no number of seconds")
    store = RemoteMemory(
        wanted.nats_url,
        medium.host,
        namespace=wanted.namespace,
        layout=wanted.layout,
        capacity=wanted.capacity,
        reset=wanted.reset,
        options=LinkOptions(dead_after_s=float(text)),
    )
    return store, store.opening


OPENERS: Mapping[str, Opener] = {
    "cpu": _cpu,
    "cuda": _cuda,
    "arena": _arena,
    "slab": _slab,
    "ucx": _ucx,
    "s3": _bucket,
    "az": _bucket,
}
