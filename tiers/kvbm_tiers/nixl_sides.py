"""The side of a transfer that NIXL reaches and Python does not: a slab on disk, or a bucket in object storage."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

from kvbm_tiers.block_move import reason_of
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.mover import CORRUPT
from kvbm_tiers.nixl_agent import Far, NixlTransferFailed
from kvbm_tiers.objects.bucket import Bucket

_MARK = 0xFF
"""No floating-point number of a KV cache ends in it, so that a whole block seldom looks short. If it does, it is read twice."""


class Landing(NamedTuple):
    """A block whose transfer is over.

    :ivar failure: why, if it failed
    :ivar is_wanted: whether somebody still waits for it
    """

    slot: int
    memory: memoryview
    failure: NixlTransferFailed | None
    is_write: bool
    is_wanted: bool


class Side(Protocol):
    """What differs between the two.

    :ivar size: bytes of a block that are transferred
    :ivar blocks_max: blocks of one transfer
    """

    size: int
    blocks_max: int

    def far(self, slot: int) -> Far:
        """Where a block lies. Raises what forbids to use the slot."""
        ...

    def prepare(self, slot: int, memory: memoryview, *, is_write: bool) -> None:
        """Before a block is posted. Raises what forbids it; then nothing of it is to be settled."""
        ...

    def settle(self, landing: Landing) -> str:
        """After its transfer; why the block has not arrived, empty if it has."""
        ...


class SlabSide:
    """A file: many blocks a transfer."""

    def __init__(self, slab: DiskSlab, blocks_max: int) -> None:
        self.size, self.blocks_max = slab.layout.slot_bytes, blocks_max
        self._slab = slab

    def far(self, slot: int) -> Far:
        """See `Side.far`."""
        return Far(self._slab.offset(slot), self.size, fd=self._slab.fd)

    def prepare(self, slot: int, memory: memoryview, *, is_write: bool) -> None:
        """See `Side.prepare`. A file needs nothing."""

    def settle(self, landing: Landing) -> str:
        """See `Side.settle`. NIXL does not say why; the file and its file system may."""
        if not landing.failure:
            return ""
        try:
            found, room = os.fstat(self._slab.fd), os.fstatvfs(self._slab.fd)
        except OSError as unknown:
            return reason_of(unknown)
        if landing.is_write and not room.f_bavail:
            return "ENOSPC: No space left on device"
        left = found.st_size - self._slab.offset(landing.slot)
        if not landing.is_write and left < self.size:
            return f"{CORRUPT}: short read: {max(0, left)} of {self.size} bytes"
        return f"NIXL: {landing.failure}"


class BucketSide:
    """Objects: one a transfer. What fails, or comes short, is done once more by the client, which does it or says why not."""

    blocks_max = 1

    def __init__(self, bucket: Bucket) -> None:
        self.size = bucket.layout.block_bytes
        self._bucket = bucket

    def far(self, slot: int) -> Far:
        """See `Side.far`."""
        return Far(0, self.size, name=self._bucket.name(slot))

    def prepare(self, slot: int, memory: memoryview, *, is_write: bool) -> None:
        """See `Side.prepare`. A GET that came short and says DONE leaves the mark at the block's end as it is."""
        if is_write:
            self._bucket.order.begin(self._bucket.key(slot))
        else:
            memory[self.size - 1] = _MARK

    def settle(self, landing: Landing) -> str:
        """See `Side.settle`."""
        key, block = self._bucket.key(landing.slot), landing.memory[: self.size]
        is_short = not landing.is_write and block[-1] == _MARK
        try:
            if landing.is_wanted and (landing.failure or is_short):
                if landing.is_write:
                    self._bucket.blocks.put(key, block)
                else:
                    self._bucket.get(landing.slot, block)
        except Exception as error:  # noqa: BLE001 - one block's trouble must not end the others'
            return reason_of(error)
        finally:
            if landing.is_write:
                self._bucket.order.end(key)
        return ""
