"""A tier worker for `bench_transfer`: `transfer_worker.py URL INSTANCE NAMESPACE CAPACITY LAYOUT FOLDER`.

`kvbm worker` in all but its command line: the same worker over the same stores. It says `ready`, and `taken` when its owner
has heard what it holds; and for each line on its standard input when it was handed each transfer since the last one, and
when its mover had moved it, in nanoseconds of the machine's steady clock, which all processes share.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kvbm_events.schema import TierSpec
from kvbm_tiers import Deletion, Job, Memory, Mover, Report, Stack, in_folder, preset
from kvbm_tiers.reports import HeldTier
from kvbm_tiers.worker import Worker, WorkerOptions, WorkerPlan

TAKEN_S = 60.0
"""How long its owner may take to hear of it."""


class Timed:
    """A mover, and when it got its jobs and was done with them.

    :ivar times_ns: by transfer
    """

    def __init__(self, mover: Mover) -> None:
        self._mover = mover
        self.times_ns: dict[str, list[int]] = {}

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:
        """See `Mover.begin`."""
        return self._mover.begin(epoch, left)

    def memories(self) -> list[Memory]:
        """See `Mover.memories`."""
        return self._mover.memories()

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        self.times_ns[job.transfer] = [time.monotonic_ns()]
        self._mover.submit(job)

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        reports = self._mover.poll()
        for report in reports:
            self.times_ns[report.transfer][1:] = [time.monotonic_ns()]
        return reports

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        self._mover.watch(changed)

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`."""
        self._mover.cancel(transfer)

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`."""
        self._mover.forget(deletion)

    def close(self) -> None:
        """See `Mover.close`."""
        self._mover.close()


def main(url: str, instance: str, namespace: str, capacity: int, layout: str, folder: Path) -> None:
    """Work until the standard input ends."""
    specs = [TierSpec(tier="g1", capacity=capacity), TierSpec(tier="g2", capacity=capacity)]
    with Stack(specs, preset(layout), namespace, in_folder(folder), instance=instance) as stack:
        held = tuple(HeldTier.of(spec, stack.openings[spec.tier]) for spec in specs)
        plan = WorkerPlan(instance=instance, namespace=namespace, tiers=held)
        timed = Timed(stack.mover)
        worker = Worker(url, plan, timed, WorkerOptions(lock_folder=folder))
        worker.start()
        print("ready", flush=True)
        assert worker.wait_ready(TAKEN_S), worker.failure
        print("taken", flush=True)
        for _ in sys.stdin:
            times_ns, timed.times_ns = timed.times_ns, {}
            print(json.dumps(times_ns), flush=True)
        worker.stop()


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), sys.argv[5], Path(sys.argv[6]))
