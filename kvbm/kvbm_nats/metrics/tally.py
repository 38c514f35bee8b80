"""What an owner's events add up to, counted on the thread that writes the log: deciding never waits for it.

Counted is what was decided and handed to the log. Of transfers, those count that this owner began: how one of an owner
before it ended is in the log, and in no counter here.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from kvbm_events.schema import (
    AnyEvent,
    Evicted,
    Matched,
    Noted,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    OnboardCompleted,
    OnboardFailed,
    OnboardStarted,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
    to_slots,
    total,
)
from kvbm_nats.metrics import catalog
from kvbm_nats.metrics.families import Families
from kvbm_nats.metrics.histogram import Histogram
from kvbm_nats.metrics.reasons import reason_class

TRANSFER_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
APPEND_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_Path = tuple[str, str]


class _Open:
    """A transfer that is not over.

    :ivar left: blocks of which nothing was said yet
    :ivar doubtful: slots of blocks that failed and may still be written to
    """

    def __init__(self, started: TransferStarted) -> None:
        self.path: _Path = started.source, started.tier
        self.since_us, self.left, self.failed = started.at_us, total(started.slots), 0
        self.blocks = self.left
        self.doubtful: set[int] = set()


class Tally:
    """See the module. A `LogObserver`; any thread may have it tell."""

    def __init__(self, instance: str, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._instance, self._now_s = instance, now_s
        self._lock = Lock()
        self._lookups, self._asked = Counter[str](), 0
        self._found, self._evicted = Counter[str](), Counter[tuple[str, str]]()
        self._noted = Counter[str]()
        self._transfers, self._failed = Counter[tuple[_Path, str]](), Counter[tuple[_Path, str]]()
        self._moved, self._durations = Counter[_Path](), dict[_Path, Histogram]()
        self._appends = Histogram(APPEND_BOUNDS_S)
        self._open: dict[str, _Open] = {}
        self._sent: deque[tuple[int, float]] = deque()
        self._takers: dict[type, Callable[[Any], None]] = {
            Matched: self._take_matched,
            Evicted: self._take_evicted,
            Noted: self._take_noted,
            OffloadStarted: self._take_started,
            OnboardStarted: self._take_started,
            OffloadCompleted: self._take_completed,
            OnboardCompleted: self._take_completed,
            OffloadFailed: self._take_failed,
            OnboardFailed: self._take_failed,
        }

    def sending(self, events: Sequence[AnyEvent]) -> None:
        """See `LogObserver`."""
        takers = self._takers
        with self._lock:
            for event in events:
                take = takers.get(type(event))
                if take:
                    take(event)
            self._sent.append((events[-1].n, self._now_s()))

    def acked(self, n: int) -> None:
        """See `LogObserver`."""
        with self._lock:
            while self._sent and self._sent[0][0] <= n:
                self._appends.observe(self._now_s() - self._sent.popleft()[1])

    def tell(self, families: Families) -> None:
        """All that was counted so far."""
        name = self._instance
        with self._lock:
            for result in ("hit", "partial", "miss"):
                families.add(catalog.LOOKUPS, self._lookups[result], name, result)
            families.add(catalog.ASKED, self._asked, name)
            for tier, blocks in self._found.items():
                families.add(catalog.FOUND, blocks, name, tier)
            for labels, blocks in self._evicted.items():
                families.add(catalog.EVICTED, blocks, name, *labels)
            for peer, blocks in self._noted.items():
                families.add(catalog.NOTED, blocks, name, peer)
            for (path, outcome), count in self._transfers.items():
                families.add(catalog.TRANSFERS, count, name, *path, outcome)
            for (path, reason), blocks in self._failed.items():
                families.add(catalog.FAILED, blocks, name, *path, reason)
            for path, size_bytes in self._moved.items():
                families.add(catalog.MOVED, size_bytes, name, *path)
            for path, histogram in self._durations.items():
                families.add_histogram(catalog.DURATION, histogram, name, *path)
            families.add_histogram(catalog.APPEND, self._appends, name)

    def _take_matched(self, event: Matched) -> None:
        found = 0
        for each in event.found:
            self._found[each.tier] += each.blocks
            found += each.blocks
        self._asked += event.asked
        self._lookups["miss" if not found else "hit" if found == event.asked else "partial"] += 1

    def _take_evicted(self, event: Evicted) -> None:
        self._evicted[event.tier, event.reason] += total(event.slots)

    def _take_noted(self, event: Noted) -> None:
        self._noted[event.writer] += total(event.slots)

    def _take_started(self, event: TransferStarted) -> None:
        self._open[event.transfer] = _Open(event)

    def _take_completed(self, event: TransferCompleted) -> None:
        transfer = self._open.get(event.transfer)
        if transfer:
            blocks = total(event.slots)
            self._moved[transfer.path] += blocks * event.length_bytes
            self._end(event, transfer, blocks)

    def _take_failed(self, event: TransferFailed) -> None:
        """Blocks that failed while they could still be written to are told of again, when they cannot: that counts once."""
        transfer = self._open.get(event.transfer)
        if transfer:
            slots = to_slots(event.slots)
            fresh = [slot for slot in slots if slot not in transfer.doubtful]
            transfer.failed += len(fresh)
            if fresh:
                self._failed[transfer.path, reason_class(event.reason)] += len(fresh)
            if event.stopped:
                transfer.doubtful.difference_update(slots)
            else:
                transfer.doubtful.update(slots)
            self._end(event, transfer, len(fresh))

    def _end(self, event: TransferCompleted | TransferFailed, transfer: _Open, blocks: int) -> None:
        """So many more blocks of a transfer have arrived or failed."""
        transfer.left -= blocks
        if blocks and not transfer.left:
            outcome = (
                "completed" if not transfer.failed else "partial" if transfer.failed < transfer.blocks else "failed"
            )
            self._transfers[transfer.path, outcome] += 1
            durations = self._durations.setdefault(transfer.path, Histogram(TRANSFER_BOUNDS_S))
            durations.observe((event.at_us - transfer.since_us) / 1e6)
        if not transfer.left and not transfer.doubtful:
            del self._open[event.transfer]
