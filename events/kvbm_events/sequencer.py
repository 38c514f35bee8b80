"""From what a log delivers to what a fold may apply: each instance's events in `(epoch, n)` order, without gaps.

Rules
1. A new epoch begins with its `Opened`, `n` 0; what an older epoch still writes afterwards is ignored.
2. Within the epoch an event that comes early is held back until the ones before it have come.
3. An event that was applied already is ignored, so delivering twice is harmless.
4. What is held back when the epoch ends was never provable; every reader drops it at the same entry.
"""

from __future__ import annotations

from typing import NamedTuple

from kvbm_events.codec import UnknownEvent, decode
from kvbm_events.log import Entry
from kvbm_events.schema import AnyEvent, Opened
from kvbm_events.schema.errors import LogGap
from kvbm_events.subjects import instance_of

MAX_HELD_BACK = 65_536


class Ordered(NamedTuple):
    """An event whose turn it is, and the sequence of the entry that made it so."""

    seq: int
    instance: str
    event: AnyEvent


class _Cursor:
    """Where one instance's reader stands."""

    def __init__(self, epoch: int = 0, n: int = -1) -> None:
        self.epoch, self.n = epoch, n
        self.early: dict[int, AnyEvent] = {}


class Sequencer:
    """Puts the entries of any number of instances in order, and counts what it passed over.

    :ivar stale: events of an epoch that was over, or that came twice
    :ivar dropped: events that were held back when their epoch ended
    :ivar unknown: events of unknown type, which only a tolerant sequencer passes over
    """

    def __init__(self, *, tolerant: bool = False) -> None:
        self.tolerant = tolerant
        self.stale = self.dropped = self.unknown = 0
        self._cursors: dict[str, _Cursor] = {}

    def resume(self, instance: str, epoch: int, n: int) -> None:
        """Go on after the event `(epoch, n)`, as a snapshot or a checkpoint says."""
        self._cursors[instance] = _Cursor(epoch, n)

    def feed(self, entry: Entry) -> list[Ordered]:
        """The events whose turn has come with this entry: none, one or several.

        Raises:
            InvalidEvent: the bytes are not an event (an unknown type only where the sequencer is strict).
            LogGap: so many events are held back that the missing one cannot be in flight any more.
        """
        try:
            event = decode(entry.data)
        except UnknownEvent:
            if not self.tolerant:
                raise
            self.unknown += 1
            return []
        instance = instance_of(entry.subject)
        cursor = self._cursors.setdefault(instance, _Cursor())
        if type(event) is Opened and event.epoch > cursor.epoch and event.n == 0:
            self.dropped += len(cursor.early)
            cursor.epoch, cursor.n = event.epoch, 0
            cursor.early.clear()
            return [Ordered(entry.seq, instance, event)]
        if event.epoch != cursor.epoch or event.n <= cursor.n or event.n in cursor.early:
            self.stale += 1
            return []
        if event.n != cursor.n + 1:
            self._hold_back(cursor, instance, event)
            return []
        ready = [Ordered(entry.seq, instance, event)]
        cursor.n = event.n
        while cursor.early and cursor.n + 1 in cursor.early:
            cursor.n += 1
            ready.append(Ordered(entry.seq, instance, cursor.early.pop(cursor.n)))
        return ready

    def missing(self) -> dict[str, tuple[int, int]]:
        """For each instance with events held back: the epoch and number of the first event that did not come."""
        return {name: (at.epoch, at.n + 1) for name, at in self._cursors.items() if at.early}

    def check_whole(self) -> None:
        """Prove that nothing is missing up to here.

        Raises:
            LogGap: events are held back; the message names the first one that did not come.
        """
        for instance, (epoch, n) in self.missing().items():
            raise _gap(instance, epoch, n)

    @staticmethod
    def _hold_back(cursor: _Cursor, instance: str, event: AnyEvent) -> None:
        if len(cursor.early) >= MAX_HELD_BACK:
            raise _gap(instance, cursor.epoch, cursor.n + 1)
        cursor.early[event.n] = event


def _gap(instance: str, epoch: int, n: int) -> LogGap:
    return LogGap(
        f"event {instance}.{epoch}.{n} is missing",
        why="later events of its epoch are there",
        hint="read from a snapshot after it, or restore the log",
    )
