"""A mover that does its jobs when the test says so."""

from __future__ import annotations

from kvbm_tiers import Job, MemoryMover, Report


class HeldMover(MemoryMover):
    """Jobs wait in the order in which they came.

    :ivar jobs: those that were submitted and not done
    """

    def __init__(self, **capacities: int) -> None:
        super().__init__(capacities)  # type: ignore[arg-type] # a test names tiers only
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def do(self, count: int = 1 << 30) -> None:
        """Do the first jobs."""
        for job in self.jobs[:count]:
            super().submit(job)
        del self.jobs[:count]

    def lose(self, reason: str, *, stopped: bool) -> None:
        """Report all jobs as failed, and go on waiting to do them where they are in doubt."""
        for job in self.jobs:
            self._reports.append(Report(transfer=job.transfer, slots=job.slots, reason=reason, stopped=stopped))
        if stopped:
            self.jobs.clear()
