"""Keys of blocks that were evicted: a policy learns from those that come back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from kvbm_events.schema import pack_keys, unpack_keys


class Ghosts:
    """Keys in the order of their eviction; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def isdisjoint(self, keys: Sequence[str]) -> bool:
        """Whether none of these keys is known."""
        return self._keys.keys().isdisjoint(keys)

    def add(self, keys: Sequence[str]) -> None:
        """Blocks were evicted; none of their keys is known, since a key is removed when it comes back."""
        self._keys.update(dict.fromkeys(keys))

    def remove(self, key: str) -> bool:
        """Forget a key; whether it was known."""
        return key in self._keys and self._keys.pop(key) is None

    def trim(self, most: int) -> None:
        """Forget the oldest keys until at most so many are left."""
        while len(self._keys) > max(most, 0):
            self._keys.popitem(last=False)

    def dump(self) -> str:
        """All keys, the oldest first."""
        return pack_keys(list(self._keys))

    def load(self, packed: str) -> None:
        """Restore what `dump` gave."""
        self._keys = OrderedDict(dict.fromkeys(unpack_keys(packed)))
