"""A mover in a world without bytes: what it is given has arrived."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kvbm_tiers import Deletion, Job, Report


class InstantMover:
    """See `Mover`."""

    def __init__(self) -> None:
        self._reports: list[Report] = []

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:  # noqa: ARG002 - nothing was left
        """See `Mover.begin`."""
        return True

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        self._reports.append(Report(transfer=job.transfer, slots=job.slots))

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        reports, self._reports = self._reports, []
        return reports

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`. There is something to poll after `submit`, and never later."""

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`. Nothing waits."""

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`. There is nothing to delete."""

    def close(self) -> None:
        """See `Mover.close`."""
