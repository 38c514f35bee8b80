"""From the log's entries to events that count: by a fold that proves their order, or without one, for any number of instances."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from kvbm_events.codec import decode
from kvbm_events.log import Entry
from kvbm_events.schema.errors import InvalidEvent
from kvbm_events.subjects import instance_of
from kvbm_nats.live.meter import Numbered
from kvbm_nats.recovery import Recovered
from kvbm_statemachine import State, evolve


class Entries(Protocol):
    """How entries become events."""

    @property
    def passed_over(self) -> int:
        """Entries that were none, or whose owner's time is over."""
        ...

    def feed(self, batch: Iterable[Entry]) -> list[Numbered]:
        """The events whose turn has come with these entries."""
        ...


class Loose:
    """Takes events as they come, of the newest epoch that was seen of each instance. It can begin anywhere."""

    def __init__(self) -> None:
        self.passed_over = 0
        self._epochs: dict[str, int] = {}

    def feed(self, batch: Iterable[Entry]) -> list[Numbered]:
        """See `Entries.feed`."""
        taken: list[Numbered] = []
        for entry in batch:
            instance = instance_of(entry.subject)
            try:
                event = decode(entry.data)
            except InvalidEvent:
                self.passed_over += 1
                continue
            if event.epoch < self._epochs.get(instance, 0):
                self.passed_over += 1
                continue
            self._epochs[instance] = event.epoch
            taken.append(Numbered(instance, entry.seq, event))
        return taken


class Folding:
    """Goes on from a recovered state, and keeps it at the last event.

    :ivar after: the sequence after which it goes on
    """

    def __init__(self, recovered: Recovered) -> None:
        self._state, self._sequencer = recovered.state, recovered.sequencer
        self._stale = recovered.sequencer.stale
        self.after = recovered.after

    @property
    def state(self) -> State:
        """After the last event that was fed."""
        return self._state

    @property
    def passed_over(self) -> int:
        """See `Entries`."""
        return self._sequencer.stale - self._stale

    def feed(self, batch: Iterable[Entry]) -> list[Numbered]:
        """See `Entries.feed`. Raises InvalidEvent, IllegalTransition, LogGap."""
        taken: list[Numbered] = []
        for entry in batch:
            for ordered in self._sequencer.feed(entry):
                evolve(self._state, ordered.event)
                taken.append(Numbered(ordered.instance, ordered.seq, ordered.event))
        return taken
