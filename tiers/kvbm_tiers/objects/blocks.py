"""One instance's blocks as objects, by key: written, read, listed and deleted; and the sidecar that says what they are.

Nothing is known of an object but what its reader proves: a store may give another length or other bytes and call that
success.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from kvbm_tiers.errors import BlockLost
from kvbm_tiers.objects.client import DELETE_MAX, ObjectClient, open_client
from kvbm_tiers.objects.names import Names
from kvbm_tiers.objects.place import Place
from kvbm_tiers.sidecar import Sidecar, decode_sidecar, encode_sidecar
from kvbm_tiers.slicing import WHOLE, Slice


class BlockObject(NamedTuple):
    """A block's object, as a listing has it.

    :ivar modified: when it was written, by the store's clock
    """

    key: str
    size_bytes: int
    modified: datetime


class BlockObjects:
    """See the module. Any thread may call; every call raises ObjectFailed where the store does not do what was asked.

    :ivar place: where they lie
    :ivar patience_s: how long a call can take
    """

    def __init__(self, client: ObjectClient, names: Names, place: Place) -> None:
        self.names, self.place, self.patience_s = names, place, client.patience_s
        self._client = client

    def get(self, key: str, target: memoryview, writer: str = "") -> None:
        """Read a block that has as many bytes as `target`: this instance's, or another writer's.

        Raises:
            BlockLost: it is not there, or has another length.
        """
        self._client.get(self.names.of_block(key, writer), target)

    def put(self, key: str, data: memoryview) -> None:
        """Write a block, whole or not at all."""
        self._client.put(self.names.of_block(key), data)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects of these keys; those that are not there are deleted."""
        for first in range(0, len(keys), DELETE_MAX):
            self._client.delete([self.names.of_block(key) for key in keys[first : first + DELETE_MAX]])

    def listed(self) -> Iterator[BlockObject]:
        """The objects of this instance and slice; those of other instances are passed over."""
        for stored in self._client.objects(self.names.folder):
            block = self.names.parse(stored.name)
            if block and block.instance == self.names.instance:
                yield BlockObject(block.key, stored.size_bytes, stored.modified)

    def sidecar(self) -> Sidecar | None:
        """What is said of them; None where nothing is.

        Raises:
            StoreDamaged: it cannot be read.
        """
        name = self.names.sidecar
        try:
            data = memoryview(bytearray(self._client.size_bytes(name)))
            self._client.get(name, data)
        except BlockLost:
            return None
        return decode_sidecar(bytes(data), f"{self.place}: {name}")

    def put_sidecar(self, sidecar: Sidecar) -> None:
        """Say what they are."""
        self._client.put(self.names.sidecar, memoryview(encode_sidecar(sidecar)))


def find_blocks(place: Place, instance: str, part: Slice = WHOLE) -> Iterator[tuple[BlockObjects, Sidecar]]:
    """All that an instance has below a place, of every namespace and layout, with what is said of it. Writes nothing.

    Raises:
        ObjectFailed: the store does not answer.
        ObstoreUnavailable, InvalidCommand: see `open_client`.
        StoreDamaged: a sidecar cannot be read.
    """
    client = open_client(place)
    for folder in client.folders(place.prefix):
        names = Names(prefix=place.prefix, fingerprint=folder.rpartition("/")[2], instance=instance, part=part)
        blocks = BlockObjects(client, names, place)
        if sidecar := blocks.sidecar():
            yield blocks, sidecar
