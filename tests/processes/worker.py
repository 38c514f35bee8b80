"""A tier worker to be killed: `worker.py URL INSTANCE RANK RANKS FOLDER STEPS`. Its tiers are files in FOLDER.

It prints `ready`, and each transfer as it is submitted, copied and reported. Before each step that STEPS names it waits
for a line on stdin.
"""

import sys
import threading
from pathlib import Path

from kvbm_tiers.worker import Worker, WorkerOptions, WorkerPlan
from support.workers import HEARTBEAT_S, NAMESPACE, FileMover, held_tiers


def say(*words):
    """One line, at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


class SteppingMover(FileMover):
    """Says what it does, and waits where it is told to."""

    def __init__(self, folder, steps):
        super().__init__(folder)
        self._steps, self._jobs = steps, []

    def submit(self, job):
        say("submitted", job.transfer)
        self._jobs.append(job)

    def poll(self):
        for job in self._jobs:
            self._wait("copy")
            super().submit(job)
            say("copied", job.transfer)
        self._jobs.clear()
        reports = super().poll()
        for report in reports:
            self._wait("report")
            say("reported", report.transfer)
        return reports

    def _wait(self, step):
        if step in self._steps:
            sys.stdin.readline()


def main():
    url, instance, rank, ranks, folder, steps = sys.argv[1:]
    mover = SteppingMover(folder, steps)
    tiers = held_tiers(mover.contents)
    plan = WorkerPlan(instance=instance, namespace=NAMESPACE, rank=int(rank), ranks=int(ranks), tiers=tiers)
    options = WorkerOptions(heartbeat_s=HEARTBEAT_S, lock_folder=Path(folder))
    worker = Worker(url, plan, mover, options)
    worker.start()

    def tell_ready():
        if worker.wait_ready(3600):
            say("ready")

    threading.Thread(target=tell_ready, daemon=True).start()
    worker.wait()
    worker.stop()


if __name__ == "__main__":
    main()
