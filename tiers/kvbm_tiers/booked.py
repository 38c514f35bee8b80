"""What movers that work in threads have in common: their jobs are in a book, and so are the answers to their owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kvbm_tiers.job_book import JobBook
from kvbm_tiers.mover import Memory, Report


class Booked:
    """The methods of `Mover` that a `JobBook` answers."""

    def __init__(self, book: JobBook) -> None:
        self._book = book

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:  # noqa: ARG002 - what it moved ended with its process
        """See `Mover.begin`."""
        return True

    def memories(self) -> list[Memory]:
        """See `Mover.memories`. Who made the stores knows of them."""
        return []

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        return self._book.poll()

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        self._book.watch(changed)

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`."""
        self._book.cancel(transfer)
