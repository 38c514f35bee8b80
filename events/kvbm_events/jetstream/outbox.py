"""What waits to be sent, what is under way, and what goes next: alone, or as an atomic batch. Pure bookkeeping.

Rules
1. Up to `singles_max` events are under way one by one. Where `GROUP_MIN` or more wait they go as one batch, which the
   server syncs once; at most `GROUPS_MAX` batches are under way.
2. Behind a batch only a batch goes: what comes meanwhile gathers for the next one.
3. What is in doubt goes again one by one, before anything new.
4. Where one expectation can be under way at a time (a stream with replicas), everything goes one after the other, and
   in batches from two events on.
"""

from __future__ import annotations

from collections import deque

from kvbm_events.jetstream.window import Window
from kvbm_events.jetstream.wire import Outgoing

GROUP_MIN = 16
"""From here on one batch costs less than so many events one by one, where the server syncs each."""
GROUP_MAX = 1000
"""The server's limit."""
GROUP_BYTES = 4 << 20
GROUPS_MAX = 2
WAITING_BYTES = 8 << 20
UNDER_WAY_BYTES = 16 << 20


class Outbox:
    """Events from `put` to `ack`.

    :ivar is_serial: see rule 4
    :ivar may_group: whether batches are taken, and worth it: they are where the server syncs every message
    """

    def __init__(self, acked_n: int, singles_max: int, *, is_serial: bool = False, may_group: bool = True) -> None:
        self.is_serial, self.may_group = is_serial, may_group
        self._singles_max = singles_max
        self._window = Window(acked_n)
        self._waiting: deque[Outgoing] = deque()
        self._waiting_bytes = 0
        self._again: deque[Outgoing] = deque()
        self._groups: deque[int] = deque()

    @property
    def acked_n(self) -> int:
        """Every event up to this one is stored."""
        return self._window.acked_n

    @property
    def is_empty(self) -> bool:
        """Whether every event that was put is stored."""
        return not self._waiting and not len(self._window)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that whoever puts more should wait too."""
        return len(self._waiting) >= GROUP_MAX or self._waiting_bytes >= WAITING_BYTES

    def put(self, event: Outgoing) -> None:
        """The next event, by its `n`."""
        self._waiting.append(event)
        self._waiting_bytes += len(event.data)

    def take(self) -> list[Outgoing]:
        """What is to be sent now: nothing, one event, or several as a batch."""
        if self._again:
            return self._take_again()
        count = self._count()
        events = [self._waiting.popleft() for _ in range(count)]
        self._waiting_bytes -= sum(len(event.data) for event in events)
        self._window.add(events)
        if count > 1:
            self._groups.append(events[-1].n)
        return events

    def ack(self, first: int, last: int) -> bool:
        """These events are stored. True if `acked_n` moved."""
        moved = self._window.ack(first, last)
        while self._groups and self._groups[0] <= self.acked_n:
            self._groups.popleft()
        while self._again and self._window.is_proven(self._again[0].n):
            self._again.popleft()
        return moved

    def send_again(self) -> int:
        """Send all that is under way once more; the `n` of the last such event, or `acked_n` for none."""
        self._groups.clear()
        self._again = deque(self._window.unproven())
        return self._again[-1].n if self._again else self.acked_n

    def _take_again(self) -> list[Outgoing]:
        under_way = self._again[0].n - 1 - self.acked_n
        if under_way >= (1 if self.is_serial else self._singles_max):
            return []
        event = self._again.popleft()
        while self._again and self._window.is_proven(self._again[0].n):
            self._again.popleft()
        return [event]

    def _count(self) -> int:
        """How many of those that wait may go now."""
        under_way = len(self._window)
        if not self._waiting or self._window.size_bytes >= UNDER_WAY_BYTES or (self.is_serial and under_way):
            return 0
        count = self._group_size()
        if count > 1:
            return count if len(self._groups) < GROUPS_MAX else 0
        return 1 if not self._groups and under_way < self._singles_max else 0

    def _group_size(self) -> int:
        if not self.may_group or len(self._waiting) < (2 if self.is_serial else GROUP_MIN):
            return 1
        count = size_bytes = 0
        for event in self._waiting:
            size_bytes += len(event.data)
            if count == GROUP_MAX or (count and size_bytes > GROUP_BYTES):
                break
            count += 1
        return count
