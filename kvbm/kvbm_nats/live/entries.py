"""From the log's entries to events that count, from anywhere on and for any number of instances: for rates, not for a state."""

from __future__ import annotations

from collections.abc import Iterable

from kvbm_events.codec import decode
from kvbm_events.log import Entry
from kvbm_events.schema.errors import InvalidEvent
from kvbm_events.subjects import instance_of
from kvbm_nats.live.meter import Numbered


class Loose:
    """Takes events as they come, of the newest epoch that was seen of each instance. It can begin anywhere.

    :ivar passed_over: entries that were no events, or of an owner whose time is over
    """

    def __init__(self) -> None:
        self.passed_over = 0
        self._epochs: dict[str, int] = {}

    def feed(self, batch: Iterable[Entry]) -> list[Numbered]:
        """The events of these entries that count."""
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
