"""How often keys were seen lately, roughly and in little room: a count-min sketch that ages.

Keys are hash digits already: each row takes 32 bits of the key itself, so the counts are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

_ROWS = Struct("<4I")
_MOST = 15
_HALF = bytes(count // 2 for count in range(256))
_ADDED_PER_SLOT = 10


class FrequencySketch:
    """Four rows of counters up to 15; all are halved after ten uses for each slot of the tier."""

    def __init__(self, capacity: int) -> None:
        self._width = 1 << max(4, (4 * capacity - 1).bit_length())
        self._sample = _ADDED_PER_SLOT * capacity
        self.counters = bytearray(4 * self._width)
        self.added = 0

    def add(self, keys: Sequence[str]) -> None:
        """These keys were used."""
        counters, width = self.counters, self._width
        mask = width - 1
        for one, two, three, four in _ROWS.iter_unpack(bytes.fromhex("".join(keys))):
            for at in (one & mask, width + (two & mask), 2 * width + (three & mask), 3 * width + (four & mask)):
                if counters[at] < _MOST:
                    counters[at] += 1
        self.added += len(keys)
        if self.added >= self._sample:
            self.counters = counters.translate(_HALF)
            self.added //= 2

    def count(self, key: str) -> int:
        """How often a key was used lately; never too little, sometimes too much."""
        counters, width = self.counters, self._width
        mask = width - 1
        digits: tuple[int, int, int, int] = _ROWS.unpack(bytes.fromhex(key))
        one, two, three, four = digits
        return min(
            counters[one & mask],
            counters[width + (two & mask)],
            counters[2 * width + (three & mask)],
            counters[3 * width + (four & mask)],
        )
