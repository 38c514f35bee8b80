"""What stands in a block of a trace: bytes that its key determines, so that whoever reads them again can prove them.

A trace says which blocks a prompt has, not what is in them. A player writes this into g1 where an engine would compute,
and compares what comes back from lower tiers with it, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from kvbm_tiers import Store
from kvbm_tiers.memory import anonymous

_SHIFTS = 4096


class Content:
    """Blocks in a device's store.

    :ivar verified: blocks that were read again and were as they had been written
    :ivar wrong: keys of those that were not
    """

    def __init__(self, device: Store) -> None:
        self.verified = 0
        self.wrong: list[str] = []
        self._device, self._size = device, device.layout.block_bytes
        self._noise = Random(0).randbytes(self._size + _SHIFTS)  # noqa: S311 - the same on every machine
        self._block = anonymous(device.layout.slot_bytes)

    def of(self, key: str) -> bytes:
        """The bytes of a block: its key, then noise that begins where the key says."""
        name = bytes.fromhex(key)
        shift = int.from_bytes(name[:2]) % _SHIFTS
        return (name + self._noise[shift + len(name) : shift + self._size])[: self._size]

    def fill(self, slots: Sequence[int], keys: Sequence[str]) -> None:
        """Write the blocks, as if they had been computed."""
        for slot, key in zip(slots, keys, strict=True):
            self._block[: self._size] = self.of(key)
            self._device.write(slot, self._block)

    def check(self, slots: Sequence[int], keys: Sequence[str]) -> None:
        """Read the blocks again, and note which are as they were written."""
        for slot, key in zip(slots, keys, strict=True):
            self._device.read(slot, self._block)
            if bytes(self._block[: self._size]) == self.of(key):
                self.verified += 1
            else:
                self.wrong.append(key)
