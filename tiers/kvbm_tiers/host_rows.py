"""Host memory that an engine has already, a row a block: used in place, and given back."""

from __future__ import annotations

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.layout import ALIGNMENT, Group, Layout
from kvbm_tiers.memory import copy
from kvbm_tiers.store import check_slot


class HostRows:
    """Rows of bytes whose inner order is the engine's own. What is in them survives nothing.

    :ivar memory: all of them, one after the other
    """

    def __init__(self, rows: memoryview) -> None:
        """Take memory of shape `(rows, bytes of a row)`.

        Raises:
            InvalidCommand: it is of another shape, or its rows are no whole pages.
        """
        shape = rows.shape or ()
        if len(shape) != 2 or rows.itemsize != 1 or not rows.c_contiguous or shape[1] % ALIGNMENT:  # noqa: PLR2004 - rows of bytes
            raise InvalidCommand(
                f"host memory of shape {shape}",
                why=f"it has a row of bytes for each block, without gaps, and {ALIGNMENT} divides its length",
            )
        self.capacity, row_bytes = shape
        row = Group(name="row", layers=1, outer=1, tokens=1, heads=1, head_size=row_bytes, dtype="int8")
        self.layout = Layout(groups=(row,))
        self.memory = rows.cast("B")

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
        """Nothing to do: what is in here survives nothing."""

    def close(self) -> None:
        """Hold the memory no longer: its owner may unmap it.

        Raises:
            BufferError: something still reads or writes it, so that it must stay.
        """
        self.capacity = 0
        self.memory.release()
