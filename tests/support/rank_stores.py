"""The stores of a rank that holds a slice of every block, g1 as an engine's arrays in a file, and what must be in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import shake_128
from math import prod
from pathlib import Path

from kvbm_events.schema import TierName, TierSpec
from kvbm_tiers import CpuDevice, DiskSlab, HostArena, Layout, Slice, Store
from kvbm_tiers.layout import Group
from kvbm_tiers.memory import anonymous, mapped

PLAN = [TierSpec(tier="g1", capacity=32), TierSpec(tier="g2", capacity=64), TierSpec(tier="g3", capacity=64)]
CAPACITIES = {spec.tier: spec.capacity for spec in PLAN}
FILES: dict[TierName, str] = {"g2": "g2.arena", "g3": "g3.slab"}


def open_device(folder: Path, layout: Layout) -> CpuDevice:
    """The engine's arrays: other processes see what is in them, and they outlive this one."""
    arrays = list[memoryview]()
    for number, array in enumerate(layout.arrays(CAPACITIES["g1"])):
        with (folder / f"g1.{number}").open("a+b") as file:
            os.posix_fallocate(file.fileno(), 0, array.size)
            arrays.append(mapped(file.fileno(), array.size))
    return CpuDevice(layout, CAPACITIES["g1"], arrays)


def open_rank_stores(folder: Path, layout: Layout, namespace: str) -> dict[TierName, Store]:
    """All three tiers of a rank."""
    return {
        "g1": open_device(folder, layout),
        "g2": HostArena(folder / FILES["g2"], namespace=namespace, layout=layout, capacity=CAPACITIES["g2"]),
        "g3": DiskSlab(folder / FILES["g3"], namespace=namespace, layout=layout, capacity=CAPACITIES["g3"]),
    }


class RankMemory:
    """One rank's tiers, seen from the test beside the worker that has them.

    :ivar layout: of its slice
    """

    def __init__(self, folder: Path, whole: Layout, part: Slice) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.layout = folder, whole.slice(part)
        self._whole, self._device = whole, open_device(folder, self.layout)

    def fill(self, slot: int, key: str) -> None:
        """What an engine computes: a block's slice in a slot of g1."""
        block = anonymous(self.layout.slot_bytes)
        block[: self.layout.block_bytes] = self.slice_of(key)
        self._device.write(slot, block)

    def forget(self) -> None:
        """The engine was restarted."""
        for array in self._device.arrays:
            array[:] = bytes(len(array))

    def read(self, tier: TierName, slot: int) -> bytes:
        """The slice in a slot."""
        size = self.layout.block_bytes
        if tier == "g1":
            block = anonymous(self.layout.slot_bytes)
            self._device.read(slot, block)
            return bytes(block[:size])
        with (self.folder / FILES[tier]).open("rb") as file:
            return os.pread(file.fileno(), size, slot * self.layout.slot_bytes)

    def slice_of(self, key: str) -> bytes:
        """What must be in this rank's part of the block with this key."""
        return slice_of(key, self._whole, self.layout.part)


@cache
def slice_of(key: str, whole: Layout, part: Slice) -> bytes:
    """A block of which every head of every token has bytes of its own, and of it the heads and layers of one rank."""
    return b"".join(page for group in whole.groups for page in _pages(key, group, part))


def _pages(key: str, group: Group, part: Slice) -> Iterator[bytes]:
    heads, tokens = part.heads(group.heads, group.name), range(group.tokens)
    row_bytes = group.page_bytes // prod(group.page) * group.head_size
    places = [(token, head) for token in tokens for head in heads]
    if group.order == "HND":
        places.sort(key=lambda place: (place[1], place[0]))
    for layer in part.layers(group.layers, group.name):
        for outer in range(group.outer):
            names = (f"{key} {group.name} {layer} {outer} {token} {head}" for token, head in places)
            yield b"".join(shake_128(name.encode()).digest(row_bytes) for name in names)


def misplaced(memories: Sequence[RankMemory], tier: TierName, slots: Sequence[int], keys: Sequence[str]) -> list[str]:
    """Keys whose block is not, at every rank, what it must be."""
    return [
        key
        for slot, key in zip(slots, keys, strict=True)
        if any(memory.read(tier, slot) != memory.slice_of(key) for memory in memories)
    ]
