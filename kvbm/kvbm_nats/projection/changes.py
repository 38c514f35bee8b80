"""What one transaction writes: rows as plain tuples in the order of their table's columns, for the raw driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kvbm_events.log import Position
from kvbm_events.schema import AnyEvent
from kvbm_nats.projection.pieces import KEY_BYTES, Named
from kvbm_nats.projection.schema import journal

Row = tuple[Any, ...]
_TYPE, BLOCKS = (journal.columns.keys().index(name) for name in ("type", "blocks"))
Range = tuple[int, int]
"""First and last number of a block."""


class Put(NamedTuple):
    """Blocks are registered."""

    blocks: Named


class Drop(NamedTuple):
    """Blocks are gone: all that are in these ranges."""

    ranges: list[Range]


class Condemn(NamedTuple):
    """Blocks cannot be matched any more, and somebody holds their slots."""

    ranges: list[Range]


class Context(NamedTuple):
    """What the journal's row of an event says that only the state knew when it took the event.

    :ivar request: whom its transfer was for
    :ivar seen: how often each of its blocks had been seen, a byte a block
    """

    request: str | None = None
    seen: bytes | None = None


class Changes:
    """The rows of one transaction: `Fold.take` gathers them, `Fold.settle` completes them.

    :ivar last: sequence, instance and event of the last entry taken
    :ivar position: the same as a checkpoint; None leaves the checkpoint where it is
    :ivar is_torn: an entry was taken in part: nothing of this may be written
    :ivar must_prove: an epoch began, or one that never began goes on: the log may not be the one that was read before
    :ivar journal: a row an entry
    :ivar applied: (sequence of the entry that brought the turn, `request`, `seen`, own sequence) of early entries whose
        turn has come
    :ivar blocks: what happens to `block`, in order
    :ivar keys: what is added to `key_entry`
    :ivar departures: rows of `departure`, without their segment
    :ivar snapshots: rows of `snapshot`
    :ivar touched: instances with an applied event
    :ivar reopened: those among them that began an epoch, and so may have lost tiers
    :ivar touched_requests, touched_transfers: (instance, name), to see at the end what became of them
    :ivar upserts: by table, rows to insert or replace
    :ivar deletes: by table, primary keys of rows that may exist and must not
    """

    def __init__(self) -> None:
        self.last: tuple[int, str, AnyEvent] | None = None
        self.position: Position | None = None
        self.is_torn = self.must_prove = False
        self.size_bytes = 0
        self.journal: list[Row] = []
        self.applied: list[tuple[int, str | None, bytes | None, int]] = []
        self.blocks: list[Put | Drop | Condemn] = []
        self.keys: list[Named] = []
        self.departures: list[tuple[int, int, int]] = []
        self.snapshots: list[Row] = []
        self.touched: set[str] = set()
        self.reopened: set[str] = set()
        self.touched_requests: set[tuple[str, str]] = set()
        self.touched_transfers: set[tuple[str, str]] = set()
        self.upserts: dict[str, list[Row]] = {}
        self.deletes: dict[str, list[Row]] = {}

    @property
    def index_rows(self) -> int:
        """How many rows it adds to the indexes, about."""
        return sum(len(named.keys) // KEY_BYTES for named in self.keys) + len(self.departures)

    def add_entry(self, row: Row) -> None:
        """Add an entry that was taken whole."""
        self.journal.append(row)
        self.size_bytes += len(row[-1])
        self.is_torn = False

    @property
    def block_events(self) -> int:
        """Slots that its events name."""
        return sum([row[BLOCKS] for row in self.journal if row[_TYPE] != "Matched"])

    def put(self, blocks: Named) -> None:
        """Add registered blocks."""
        if blocks.pieces:
            self.blocks.append(Put(blocks))
            self.keys.append(blocks)

    def drop(self, ranges: Sequence[Range]) -> None:
        """Take blocks out."""
        if ranges:
            self.blocks.append(Drop(list(ranges)))

    def condemn(self, ranges: Sequence[Range]) -> None:
        """Mark blocks as condemned."""
        if ranges:
            self.blocks.append(Condemn(list(ranges)))
