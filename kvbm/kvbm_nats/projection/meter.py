"""How far a projector is and how fast it goes."""

from __future__ import annotations

import time
from collections import deque

from msgspec import Struct

WINDOW_S = 5.0


class ProjectorStatus(Struct, frozen=True, kw_only=True):
    """A projector at a glance.

    :ivar seq: the checkpoint
    :ivar last_seq: the log's last sequence, when it was last asked, at most about a second before the checkpoint moved
    :ivar events_per_s, blocks_per_s: written within the last seconds; a block is a slot that an event names
    :ivar applied: events that were written since it began
    :ivar passed_over: entries that no reader may apply
    :ivar rebuilds: how often the projection had to be made again
    :ivar reason: why it was, the last time
    """

    seq: int
    last_seq: int
    events_per_s: float
    blocks_per_s: float
    applied: int
    passed_over: int
    rebuilds: int
    reason: str

    @property
    def lag(self) -> int:
        """Entries between the checkpoint and the end of the log."""
        return max(0, self.last_seq - self.seq)


class Meter:
    """Counts what was written, and when.

    :ivar events: written so far
    """

    def __init__(self) -> None:
        self.events = 0
        self._written: deque[tuple[float, int, int]] = deque()
        self._started = time.monotonic()

    def add(self, events: int, blocks: int) -> None:
        """Count a transaction."""
        self.events += events
        self._written.append((time.monotonic(), events, blocks))
        self._forget()

    def rates(self) -> tuple[float, float]:
        """Events and blocks a second."""
        self._forget()
        span_s = min(WINDOW_S, time.monotonic() - self._started) or 1.0
        return (
            sum(events for _, events, _ in self._written) / span_s,
            sum(blocks for _, _, blocks in self._written) / span_s,
        )

    def _forget(self) -> None:
        oldest = time.monotonic() - WINDOW_S
        while self._written and self._written[0][0] < oldest:
            self._written.popleft()
