"""Object storage as a store: an object a block, named by the block's key, so that slots are only counted here."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from kvbm_tiers.errors import ObjectFailed, StoreUnavailable
from kvbm_tiers.layout import Layout
from kvbm_tiers.objects.blocks import BlockObjects
from kvbm_tiers.objects.client import DELETE_MAX
from kvbm_tiers.objects.order import Order
from kvbm_tiers.sidecar import Sidecar
from kvbm_tiers.store import Opening, check_slot


class Bucket:
    """See the module. Which block is in which slot is told by the jobs that move them.

    :ivar blocks: the objects, by key
    :ivar opening: whether they were kept, and why
    :ivar order: what keeps writes and deletions of one object apart
    """

    def __init__(
        self, blocks: BlockObjects, *, namespace: str, layout: Layout, capacity: int, reset: bool = False
    ) -> None:
        """Ask the store for what is known of this instance's objects, and note it where nothing is.

        Raises:
            StoreUnavailable: the store does not answer, or does not take an object.
            NamespaceMismatch, StoreDamaged: the sidecar is of another layout, or cannot be read.
        """
        self.layout, self.capacity, self.blocks = layout, capacity, blocks
        wanted = Sidecar(
            namespace=namespace,
            layout=layout,
            capacity=capacity,
            block_bytes=layout.block_bytes,
            slot_bytes=layout.slot_bytes,
            incarnation=secrets.token_hex(8),
        )
        try:
            self.opening = _open(blocks, wanted, reset=reset)
        except ObjectFailed as error:
            raise StoreUnavailable(
                f"store {blocks.place} cannot be used", why=str(error), hint="look at its address, bucket and rights"
            ) from error
        self._keys: dict[int, str] = {}
        self._writers: dict[int, str] = {}
        self.order = Order(blocks.delete, batch_max=DELETE_MAX, patience_s=blocks.patience_s)

    def assign(self, slots: Sequence[int], keys: Sequence[str], writer: str = "") -> None:
        """These slots have, or are to have, the blocks with these keys; `writer` is another instance that wrote them."""
        self._keys.update(zip(slots, keys, strict=True))
        if writer:
            self._writers.update(dict.fromkeys(slots, writer))
        elif self._writers:
            for slot in slots:
                self._writers.pop(slot, None)

    def key(self, slot: int) -> str:
        """The key of the block in a slot.

        Raises:
            ObjectFailed: nobody has said which block that is.
        """
        check_slot(slot, self.capacity)
        if slot not in self._keys:
            raise ObjectFailed(f"nobody has said which block is in slot {slot}")
        return self._keys[slot]

    def name(self, slot: int) -> str:
        """The name of the object of the block in a slot. Raises as `key`."""
        return self.blocks.names.of_block(self.key(slot), self._writers.get(slot, ""))

    def get(self, slot: int, block: memoryview) -> None:
        """Read the object of a slot into packed memory. Raises BlockLost, ObjectFailed as `BlockObjects.get` does."""
        self.blocks.get(self.key(slot), block, self._writers.get(slot, ""))

    def view(self, slot: int) -> None:
        """None: objects are not in memory."""
        check_slot(slot, self.capacity)

    def read(self, slot: int, block: memoryview) -> None:
        """See `Store.read`. Raises BlockLost, ObjectFailed as `BlockObjects.get` does."""
        self.get(slot, block[: self.layout.block_bytes])

    def write(self, slot: int, block: memoryview) -> None:
        """See `Store.write`. Raises ObjectFailed."""
        key = self.key(slot)
        with self.order.writing(key):
            self.blocks.put(key, block[: self.layout.block_bytes])

    def sync(self) -> None:
        """Nothing to do: what a store has taken, it has."""

    def forget(self, keys: Sequence[str]) -> None:
        """Delete the objects of these keys in the background."""
        self.order.forget(keys)

    def close(self) -> None:
        """Finish the deletions that were asked for, if the store answers."""
        self.order.close(self.blocks.patience_s)


def _open(blocks: BlockObjects, wanted: Sidecar, *, reset: bool) -> Opening:
    found = None if reset else blocks.sidecar()
    if found:
        found.check(wanted)
        if found.capacity == wanted.capacity:
            return Opening(state="kept", why="its sidecar is there", incarnation=found.incarnation)
    blocks.put_sidecar(wanted)
    why = f"its capacity was {found.capacity} and is {wanted.capacity}" if found else "it is new"
    return Opening(state="reset", why="a reset was asked for" if reset else why, incarnation=wanted.incarnation)
