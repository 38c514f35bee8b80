"""Host memory of a tier: one arena in shared memory, mapped once, that survives the process."""

from __future__ import annotations

import os
from pathlib import Path

from kvbm_tiers.layout import Layout
from kvbm_tiers.memory import address_of, copy, mapped
from kvbm_tiers.store import check_slot
from kvbm_tiers.survivor import claim

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - not a temporary file: it is to outlive the process, and is ours alone


class HostArena:
    """Packed blocks one after the other. The room is taken when it is made, so that no write finds memory full.

    The file must not be cut while it is open: the kernel ends who then reads behind its end.

    :ivar opening: whether its blocks were kept, and why
    :ivar address: of its first byte; a whole number of pages
    """

    def __init__(self, path: Path, *, namespace: str, layout: Layout, capacity: int, reset: bool = False) -> None:
        """See `survivor.claim` for what is kept, and for the errors."""
        self.layout, self.capacity = layout, capacity
        self._fd, self.opening = claim(path, namespace=namespace, layout=layout, capacity=capacity, reset=reset)
        self.memory = mapped(self._fd, capacity * layout.slot_bytes)
        self.address = address_of(self.memory)

    def view(self, slot: int) -> memoryview:
        """See `Store.view`."""
        check_slot(slot, self.capacity)
        start = slot * self.layout.slot_bytes
        return self.memory[start : start + self.layout.slot_bytes]

    def read(self, slot: int, block: memoryview) -> None:
        """See `Store.read`."""
        copy(block, self.view(slot))

    def write(self, slot: int, block: memoryview) -> None:
        """See `Store.write`."""
        copy(self.view(slot), block)

    def sync(self) -> None:
        """Nothing to do: what is in shared memory survives the process, and nothing there survives the machine."""

    def close(self) -> None:
        """Let the lock go. The memory stays mapped for as long as somebody holds a view of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self.capacity = -1, 0  # no slot can be read or written any more
            self.memory = memoryview(b"")
