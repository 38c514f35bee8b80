"""Which segment of `key_entry` and `departure` a transaction writes to."""

from __future__ import annotations

from typing import NamedTuple

from kvbm_nats.projection.schema import SEGMENT_ROWS


class Segment(NamedTuple):
    """The last segment: its number and how many rows it has."""

    id: int = 0
    rows: int = 0

    def after(self, rows: int) -> Segment:
        """The segment that takes so many more rows: this one, or the next where they would be too many.

        So a large transaction has a segment of its own, which is written in order, and small ones share one.
        """
        if self.rows and self.rows + rows > SEGMENT_ROWS:
            return Segment(self.id + 1, rows)
        return Segment(self.id, self.rows + rows)
