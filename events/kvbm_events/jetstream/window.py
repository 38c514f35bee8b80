"""Which events are under way, and up to where they are proven to be stored. Pure bookkeeping."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from kvbm_events.jetstream.wire import Outgoing


class Window:
    """Events in the order of their `n`, without gaps, from the first one that is not proven.

    :ivar acked_n: every event up to this one is stored
    :ivar size_bytes: the bodies of the events that are kept here
    """

    def __init__(self, acked_n: int) -> None:
        self.acked_n = acked_n
        self.size_bytes = 0
        self._kept: deque[Outgoing] = deque()
        self._early: set[int] = set()

    def __len__(self) -> int:
        """How many events are not proven."""
        return len(self._kept) - len(self._early)

    def add(self, events: Iterable[Outgoing]) -> None:
        """Events that are about to be sent; they go on from the last one added."""
        for event in events:
            self._kept.append(event)
            self.size_bytes += len(event.data)

    def ack(self, first: int, last: int) -> bool:
        """These events are stored. True if `acked_n` moved; what is not kept here is passed over."""
        end = min(last, self.acked_n + len(self._kept))
        if first > self.acked_n + 1:
            self._early.update(range(first, end + 1))
            return False
        before = self.acked_n
        while self.acked_n < end or self.acked_n + 1 in self._early:
            self.size_bytes -= len(self._kept.popleft().data)
            self.acked_n += 1
            self._early.discard(self.acked_n)
        return self.acked_n > before

    def is_proven(self, n: int) -> bool:
        """Whether this event is stored for certain."""
        return n <= self.acked_n or n in self._early

    def unproven(self) -> list[Outgoing]:
        """The events that may or may not be stored, in order."""
        return [event for event in self._kept if event.n not in self._early]
