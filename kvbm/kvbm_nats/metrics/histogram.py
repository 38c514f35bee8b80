"""How often something took so long: counts by upper bound, and the sum."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Histogram:
    """Not safe for threads by itself.

    :ivar sum: of all that was observed
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; one that equals a bound lies within it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound, and how many values were not above it; the last bound is infinite."""
        return list(zip([*map(str, self._bounds), "+Inf"], map(float, accumulate(self._counts)), strict=True))
