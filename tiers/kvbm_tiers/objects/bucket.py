"""Object storage of a tier: an object a block, named by the block's key, so that slots are only counted here.

Nothing is known of an object but what its reader proves: a store may give another length or other bytes and call that
success.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime

from kvbm_tiers.errors import BlockLost, ObjectFailed, StoreUnavailable
from kvbm_tiers.layout import Layout
from kvbm_tiers.objects.client import DELETE_MAX, ObjectClient
from kvbm_tiers.objects.names import Names
from kvbm_tiers.objects.order import Order
from kvbm_tiers.objects.place import Place
from kvbm_tiers.sidecar import Sidecar, decode_sidecar, encode_sidecar
from kvbm_tiers.store import Opening, check_slot


class Bucket:
    """See the module. Which block is in which slot is told by the jobs that move them.

    :ivar opening: whether its blocks were kept, and why
    :ivar order: what keeps writes and deletions of one object apart
    """

    def __init__(
        self,
        client: ObjectClient,
        names: Names,
        place: Place,
        *,
        namespace: str,
        layout: Layout,
        capacity: int,
        reset: bool = False,
    ) -> None:
        """Ask the store for what is known of this instance's objects, and note it where nothing is.

        Raises:
            StoreUnavailable: the store does not answer, or does not take an object.
            NamespaceMismatch, StoreDamaged: the sidecar is of another layout, or cannot be read.
        """
        self.layout, self.capacity = layout, capacity
        self.names, self.place, self.client = names, place, client
        wanted = Sidecar(
            namespace=namespace,
            layout=layout,
            capacity=capacity,
            block_bytes=layout.block_bytes,
            slot_bytes=layout.slot_bytes,
            incarnation=secrets.token_hex(8),
        )
        self.opening = self._open(wanted, reset=reset)
        self._keys: dict[int, str] = {}
        self.order = Order(self.delete, batch_max=DELETE_MAX, patience_s=client.patience_s)

    def assign(self, slots: Sequence[int], keys: Sequence[str]) -> None:
        """These slots have, or are to have, the blocks with these keys."""
        self._keys.update(zip(slots, keys, strict=True))

    def key(self, slot: int) -> str:
        """The key of the block in a slot.

        Raises:
            ObjectFailed: nobody has said which block that is.
        """
        check_slot(slot, self.capacity)
        if slot not in self._keys:
            raise ObjectFailed(f"nobody has said which block is in slot {slot}")
        return self._keys[slot]

    def view(self, slot: int) -> None:
        """None: objects are not in memory."""
        check_slot(slot, self.capacity)

    def read(self, slot: int, block: memoryview) -> None:
        """See `Store.read`. Raises BlockLost, ObjectFailed as `ObjectClient.get` does."""
        self.client.get(self.names.of_block(self.key(slot)), block[: self.layout.block_bytes])

    def write(self, slot: int, block: memoryview) -> None:
        """See `Store.write`. Raises ObjectFailed."""
        key = self.key(slot)
        with self.order.writing(key):
            self.client.put(self.names.of_block(key), block[: self.layout.block_bytes])

    def sync(self) -> None:
        """Nothing to do: what a store has taken, it has."""

    def forget(self, keys: Sequence[str]) -> None:
        """Delete the objects of these keys in the background."""
        self.order.forget(keys)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects of these keys now.

        Raises:
            ObjectFailed: some of them may still be there.
        """
        for first in range(0, len(keys), DELETE_MAX):
            self.client.delete([self.names.of_block(key) for key in keys[first : first + DELETE_MAX]])

    def listed(self) -> Iterator[tuple[str, int, datetime]]:
        """Key, bytes and age of each object of this instance and slice.

        Raises:
            ObjectFailed: the listing broke off.
        """
        for stored in self.client.list(self.names.folder):
            block = self.names.parse(stored.name)
            if block and block.instance == self.names.instance:
                yield block.key, stored.size_bytes, stored.modified

    def close(self) -> None:
        """Finish the deletions that were asked for, if the store answers."""
        self.order.close(self.client.patience_s)

    def _open(self, wanted: Sidecar, *, reset: bool) -> Opening:
        try:
            found = None if reset else self._sidecar(wanted)
            if found and found.capacity == wanted.capacity:
                return Opening(state="kept", why="its sidecar is there", incarnation=found.incarnation)
            self.client.put(self.names.sidecar, memoryview(encode_sidecar(wanted)))
        except ObjectFailed as error:
            raise StoreUnavailable(
                f"store {self.place} cannot be used", why=str(error), hint="look at its address, bucket and rights"
            ) from error
        why = f"its capacity was {found.capacity} and is {wanted.capacity}" if found else "it is new"
        return Opening(state="reset", why="a reset was asked for" if reset else why, incarnation=wanted.incarnation)

    def _sidecar(self, wanted: Sidecar) -> Sidecar | None:
        name = self.names.sidecar
        try:
            data = memoryview(bytearray(self.client.size_bytes(name)))
            self.client.get(name, data)
        except BlockLost:
            return None
        found = decode_sidecar(bytes(data), f"{self.place}: {name}")
        found.check(wanted)
        return found
