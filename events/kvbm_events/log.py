"""What a log is. Two implementations pass one contract suite: `memory.MemoryLog` and `jetstream.JetStreamLog`.

The log is one sequence of entries for all instances. Each instance has at most one live writer: opening one claims
the next epoch by compare-and-set, and whoever held the epoch before is fenced from then on.

Writing  `open_writer(instance, opened, after)` → `Writer.append(events)` → `Writer.settle()`
Reading  `read(instance, after, until)` gives batches of entries in log order
Resuming `save_snapshot` / `load_snapshot`: a folded state and the exact position it is true of
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from kvbm_events.schema import AnyEvent, Opened
from kvbm_events.schema.errors import Fenced, InvalidCommand, LogGap

SNAPSHOTS_KEPT = 8
"""How many snapshots of an instance a log keeps, unless it is told otherwise: the newest ones."""


class Entry(NamedTuple):
    """One stored event: its sequence in the log (from 1), its subject and its bytes."""

    seq: int
    subject: str
    data: bytes


class Position(Struct, frozen=True):
    """A place in the log that can be proven: a sequence and the message id of the event there.

    After a power cut a log may end earlier and use sequences again, so a sequence alone proves nothing.
    """

    seq: int = 0
    message_id: str = ""


class LogInfo(Struct, frozen=True, kw_only=True):
    """The state of a log. Sequences are 0 where it is empty; `bytes_max` is 0 where there is no limit."""

    first_seq: int
    last_seq: int
    size_bytes: int
    bytes_max: int
    durable: bool
    """Whether an acknowledged event survives a power cut."""
    warning: str = ""
    """What an operator should know: a weaker server, a log that is nearly full."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """A folded state of one instance, true after the event `(epoch, n)` at log sequence `seq`."""

    instance: str
    epoch: int
    n: int
    seq: int
    at_us: int
    digest: str
    state: bytes


class Writer(Protocol):
    """The one writer of an instance's epoch. Not thread-safe: it lives on one event loop."""

    @property
    def acked_n(self) -> int:
        """The highest `n` such that every event up to it is stored, by the log's own acknowledgement."""
        ...

    async def append(self, events: Sequence[AnyEvent]) -> None:
        """Send events in their order; waits while the window is full, not for acknowledgements.

        The events carry this writer's epoch and go on from its last `n` without a gap.

        Raises:
            Fenced, LogFull, LogUnavailable: and from then on every call raises the same. A log that is far away may
                tell only a later call, or `settle`; what it had not stored then, no reader ever applies.
            InvalidCommand: an event does not go on where the last one ended, or is larger than the log takes. The
                events before it were taken.
        """
        ...

    async def settle(self) -> None:
        """Wait until all that was appended is acknowledged. Raises as `append`."""
        ...

    async def close(self) -> None:
        """Settle, then stop: later calls raise LogUnavailable. Raises as `append`; a failed writer's close does not."""
        ...


class Log(Protocol):
    """A durable sequence of events, and the snapshots beside it."""

    async def open_writer(
        self, instance: str, opened: Opened, after: int, on_acked: Callable[[int], None] = lambda _n: None
    ) -> Writer:
        """Claim the instance by appending `opened` right after sequence `after`, the last of the instance's entries.

        `opened.n` is 0 and its epoch is above all before. `on_acked` is called with each new `acked_n`.

        Raises:
            Fenced: the instance has an entry after `after`: somebody else writes.
            LogGap: the instance's log ends before `after`.
            LogFull, LogUnavailable: as they say.
        """
        ...

    def read(
        self, instance: str | None = None, *, after: int = 0, until: int | None = None
    ) -> AsyncIterator[list[Entry]]:
        """Entries with `after < seq ≤ until` in batches, of one instance or of all.

        With `until=None` the reader waits for what comes, until the log is closed; else it ends with the last entry
        that is there. Every batch has at least one entry.

        Raises:
            LogGap: entries after `after` were trimmed (of one instance: at once; of all: where the first one is
                missing), or the log ends before `after`.
            LogUnavailable: as it says.
        """
        ...

    async def last_seq(self, instance: str | None = None) -> int:
        """The sequence of the last entry, of one instance or of all; 0 where there is none."""
        ...

    async def instances(self) -> list[str]:
        """The instances that have entries, by name. A trim leaves an instance's last entry, and so its name."""
        ...

    async def position(self, seq: int) -> Position | None:
        """The provable position of one entry; None where the log has no such entry (any more)."""
        ...

    async def next_entry(self, after: int, instance: str | None = None) -> Entry | None:
        """The first entry after a sequence that is left, of one instance or of all; None where there is none."""
        ...

    async def info(self) -> LogInfo:
        """How much the log holds and how much it may."""
        ...

    async def trim(self, instance: str, seq: int) -> None:
        """Drop the instance's entries up to and with `seq`, which a snapshot at or after `seq` must cover.

        The instance's last entry stays in any case: the next claim is compared with it. Whoever still reads before
        `seq` may miss entries, so trim behind the slowest reader.

        Raises:
            LogGap: no snapshot covers them: nothing was dropped.
        """
        ...

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Store a snapshot. Storing the same position again replaces it; of the others the newest ones are kept."""
        ...

    async def load_snapshot(self, instance: str, until: int | None = None) -> Snapshot | None:
        """The newest snapshot of the instance at or before sequence `until`; None where there is none."""
        ...

    async def close(self) -> None:
        """Let go of connections: readers end, and writers fail with LogUnavailable. The entries stay."""
        ...


def check_order(events: Sequence[AnyEvent], epoch: int, n: int) -> None:
    """Whether these are the epoch's next events, from `n` on.

    Raises:
        InvalidCommand: the first one that is not; nothing should be appended.
    """
    for expected, event in enumerate(events, n):
        if event.epoch != epoch or event.n != expected:
            raise InvalidCommand(
                f"{type(event).__name__} {event.epoch}.{event.n} is not the next event",
                why=f"this writer goes on with {epoch}.{expected}",
                hint="append every event of the epoch once, in order",
            )


def fenced(instance: str, why: str) -> Fenced:
    """The error of an owner whose instance is another's now."""
    return Fenced(
        f"{instance!r} was claimed by another owner",
        why=why,
        hint="stop deciding and stop the other owner, or read the log again and open the next epoch",
    )


def lost_start(after: int, trimmed: int) -> LogGap:
    """The error of a reader that begins before what is left."""
    return LogGap(
        f"entries after {after} are gone",
        why=f"the log was trimmed up to {trimmed}",
        hint="start from the nearest snapshot",
    )


def lost_end(last: int, after: int) -> LogGap:
    """The error of one who knows entries that the log does not have."""
    return LogGap(
        f"the log ends at {last}, before {after}",
        why="it is another log, or it lost its end",
        hint="rebuild what was read from it",
    )


def not_covered(instance: str, seq: int, newest: int) -> LogGap:
    """The error of a trim that would drop what no snapshot holds."""
    return LogGap(
        f"{instance!r} cannot be trimmed up to {seq}",
        why=f"its newest snapshot is at {newest}" if newest else "it has no snapshot",
        hint="write a snapshot first",
    )
