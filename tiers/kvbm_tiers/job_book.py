"""The jobs of a mover that works in threads: cut into batches, handed out by urgency, reported once each block.

A job is *waiting*, then its batches *run* one by one or at once; when the last has ended, the one who ended it syncs
the destination and *concludes* the job. A job past its deadline is given up: what runs is reported as not stopped,
and again when it has ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Condition
from typing import NamedTuple

from kvbm_tiers.mover import Job, Report

OVERDUE = "deadline passed"
CANCELLED = "cancelled"
_NEVER_US = 1 << 63


def wall_clock_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class Outcome(NamedTuple):
    """What became of a block: its checksum, or why it did not arrive."""

    checksum: str = ""
    reason: str = ""


class _OpenJob:
    def __init__(self, job: Job, batch_blocks: int) -> None:
        self.job = job
        self.outcomes: dict[int, Outcome] = {}
        count = len(job.slots)
        cuts = range(0, count, batch_blocks)
        self.waiting = deque(Batch(self, range(start, min(start + batch_blocks, count))) for start in cuts)
        self.running: list[Batch] = []
        self.given_up = ""


class Batch:
    """Some blocks of a job, for one go.

    :ivar blocks: their places in the job
    """

    def __init__(self, owner: _OpenJob, blocks: range) -> None:
        self.owner, self.job, self.blocks = owner, owner.job, blocks

    @property
    def is_given_up(self) -> bool:
        """Whether nobody wants what of it has not begun."""
        return bool(self.owner.given_up)


class JobBook:
    """Any thread may call. Nothing here takes long, and only `take` waits.

    :ivar length_bytes: of a block, as reported
    """

    def __init__(
        self, *, length_bytes: int, batch_blocks: int, blocks_max: int, now_us: Callable[[], int] = wall_clock_us
    ) -> None:
        self.length_bytes = length_bytes
        self._batch_blocks, self._blocks_max, self._now_us = batch_blocks, blocks_max, now_us
        self._open: dict[str, _OpenJob] = {}
        self._blocks = 0
        self._soonest_us = _NEVER_US  # no open job has an earlier deadline
        self._urgent, self._other = deque[_OpenJob](), deque[_OpenJob]()
        self._reports: list[Report] = []
        self._changed = Condition()
        self._is_closed = False
        self._watcher: Callable[[], None] = lambda: None

    def submit(self, job: Job, flaw: str = "") -> None:
        """Take a job. One that is open already is the same job; one too many, or with a flaw, is reported as failed."""
        with self._changed:
            if job.transfer in self._open or self._is_closed:
                return
            entry = _OpenJob(job, self._batch_blocks)
            if self._blocks + len(job.slots) > self._blocks_max:
                flaw = f"the mover is full: {self._blocks} blocks are under way"
            if flaw:
                self._say(entry, range(len(job.slots)), flaw)
                return
            self._open[job.transfer] = entry
            self._blocks += len(job.slots)
            self._soonest_us = min(self._soonest_us, job.deadline_us)
            (self._urgent if job.is_onboard else self._other).append(entry)
            self._changed.notify(len(entry.waiting))

    def take(self, *, wait: bool = True) -> Batch | None:
        """The next batch to move; None at the end, or when there is none and `wait` is false."""
        with self._changed:
            while not self._is_closed:
                for queue in (self._urgent, self._other):
                    while queue:
                        if queue[0].waiting:
                            batch = queue[0].waiting.popleft()
                            batch.owner.running.append(batch)
                            return batch
                        queue.popleft()
                if not wait:
                    return None
                self._changed.wait()
            return None

    def finish(self, batch: Batch, outcomes: Sequence[Outcome]) -> bool:
        """A batch has ended and writes nothing any more; blocks without an outcome had not begun.

        True if it was the last of its job: then sync the destination and `conclude`.
        """
        with self._changed:
            entry = batch.owner
            entry.running.remove(batch)
            entry.outcomes.update(zip(batch.blocks, outcomes, strict=False))
            if not entry.given_up:
                return not entry.waiting and not entry.running
            self._say(entry, batch.blocks, entry.given_up)
            self._forget_if_over(entry)
            return False

    def conclude(self, batch: Batch, flaw: str) -> None:
        """The job of this batch is over: its blocks have arrived, unless `flaw` says why none can be relied on."""
        with self._changed:
            entry = batch.owner
            if not entry.given_up:
                self._say(entry, range(len(entry.job.slots)), flaw)
                self._forget_if_over(entry)

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        with self._changed:
            if self._soonest_us < (now := self._now_us()):
                self._give_up_overdue(now)
            reports, self._reports = self._reports, []
            return reports

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        self._watcher = changed

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`."""
        with self._changed:
            entry = self._open.get(transfer)
            if entry and not (entry.running or entry.outcomes or entry.given_up):
                self._give_up(entry, CANCELLED)

    def give_up(self, batch: Batch, why: str) -> None:
        """Report the job of a batch that runs as failed, and what runs of it as in doubt until it is finished."""
        with self._changed:
            if not batch.is_given_up:
                self._give_up(batch.owner, why)

    def close(self) -> None:
        """Hand out nothing more and report nothing more."""
        with self._changed:
            self._is_closed = True
            self._reports.clear()
            for entry in self._open.values():
                entry.given_up = entry.given_up or "closed"
            self._changed.notify_all()

    def _give_up_overdue(self, now: int) -> None:
        for entry in [e for e in self._open.values() if not e.given_up and e.job.deadline_us < now]:
            self._give_up(entry, OVERDUE)
        still = (entry.job.deadline_us for entry in self._open.values() if not entry.given_up)
        self._soonest_us = min(still, default=_NEVER_US)

    def _give_up(self, entry: _OpenJob, why: str) -> None:
        """Nothing of it begins any more; what runs is in doubt until it has ended."""
        entry.given_up = why
        entry.waiting.clear()
        running = {at for batch in entry.running for at in batch.blocks}
        self._say(entry, [at for at in range(len(entry.job.slots)) if at not in running], why)
        self._say(entry, sorted(running), why, stopped=False)
        self._forget_if_over(entry)

    def _forget_if_over(self, entry: _OpenJob) -> None:
        if not entry.running and self._open.pop(entry.job.transfer, None) is not None:
            self._blocks -= len(entry.job.slots)

    def _say(self, entry: _OpenJob, blocks: Iterable[int], flaw: str, *, stopped: bool = True) -> None:
        """One report for what arrived, and one for each reason why something did not."""
        if self._is_closed:
            return
        job, by_reason = entry.job, dict[str, list[int]]()
        for at in blocks:
            by_reason.setdefault(entry.outcomes.get(at, Outcome()).reason or flaw, []).append(at)
        for reason, places in by_reason.items():
            slots = [job.slots[at] for at in places]
            if reason:
                self._reports.append(Report(transfer=job.transfer, slots=slots, reason=reason, stopped=stopped))
                continue
            sums = "".join(entry.outcomes[at].checksum for at in places)
            arrived = Report(transfer=job.transfer, slots=slots, length_bytes=self.length_bytes, checksums=sums)
            self._reports.append(arrived)
        self._watcher()
