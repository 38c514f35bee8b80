"""A mover that counts what another one moves: blocks and bytes by path, and for how long something was under way there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from kvbm_events.schema import TierName
from kvbm_tiers.mover import CORRUPT, Deletion, Job, Memory, Mover, Report, loss

Path = tuple[TierName, TierName]
"""From which tier, to which."""


class Traffic(Struct):
    """What went along one path.

    :ivar blocks: that arrived
    :ivar size_bytes: of them
    :ivar failed: blocks that did not
    :ivar corrupt: of these, blocks that were read with other bytes than they had
    :ivar busy_s: for how long blocks were under way, those in the mover's queue among them
    """

    blocks: int = 0
    size_bytes: int = 0
    failed: int = 0
    corrupt: int = 0
    busy_s: float = 0.0

    @property
    def gb_per_s(self) -> float:
        """While something was under way."""
        return self.size_bytes / self.busy_s / 1e9 if self.busy_s else 0.0


class Meter:
    """See `Mover`. Used from one thread, as every mover is.

    :ivar traffic: by path
    """

    def __init__(self, mover: Mover, *, now_s: Callable[[], float] = time.perf_counter) -> None:
        self.traffic: dict[Path, Traffic] = {}
        self._mover, self._now_s = mover, now_s
        self._under_way: dict[str, tuple[Path, set[int]]] = {}
        self._since_s: dict[Path, float] = {}

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:
        """See `Mover.begin`."""
        return self._mover.begin(epoch, left)

    def memories(self) -> list[Memory]:
        """See `Mover.memories`."""
        return self._mover.memories()

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        path = job.source, job.tier
        self.traffic.setdefault(path, Traffic())
        self._since_s.setdefault(path, self._now_s())
        self._under_way[job.transfer] = path, set(job.slots)
        self._mover.submit(job)

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        reports = self._mover.poll()
        for report in reports:
            self._count(report)
        return reports

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        self._mover.watch(changed)

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`."""
        self._mover.forget(deletion)

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`."""
        self._mover.cancel(transfer)

    def close(self) -> None:
        """See `Mover.close`."""
        self._mover.close()

    def _count(self, report: Report) -> None:
        if report.transfer not in self._under_way:
            return
        path, slots = self._under_way[report.transfer]
        news = slots.intersection(report.slots)
        slots -= news
        traffic = self.traffic[path]
        if report.reason:
            traffic.failed += len(news)
            if loss(report.reason) == CORRUPT:
                traffic.corrupt += len(news)
        else:
            traffic.blocks += len(news)
            traffic.size_bytes += len(news) * report.length_bytes
        if slots:
            return
        del self._under_way[report.transfer]
        if all(other != path for other, _ in self._under_way.values()):
            traffic.busy_s += self._now_s() - self._since_s.pop(path)
