"""A tier worker to be killed: `worker.py URL INSTANCE RANK RANKS FOLDER STEPS [PP LAYOUT]`. Its tiers are files in FOLDER.

Without LAYOUT a block is 64 bytes. With it, the JSON of a rank's layout, the tiers are real stores, and g1 is an engine's
arrays. It prints `ready`, and each transfer as it is submitted, copied and reported. Before each step that STEPS names it
waits for a line on stdin.
"""

import sys
import threading
from pathlib import Path

import msgspec

from kvbm_tiers import Layout, open_mover
from kvbm_tiers.worker import Worker, WorkerOptions, WorkerPlan
from support.rank_stores import PLAN, open_rank_stores
from support.workers import HEARTBEAT_S, NAMESPACE, TIERS, FileMover, held_tiers


def say(*words):
    """One line, at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


class SteppingMover:
    """Says what another mover does, and waits where it is told to."""

    def __init__(self, mover, steps):
        self._mover, self._steps, self._jobs = mover, steps, []
        self.begin, self.cancel, self.watch, self.close = mover.begin, mover.cancel, mover.watch, mover.close

    def submit(self, job):
        say("submitted", job.transfer)
        self._jobs.append(job)

    def poll(self):
        for job in self._jobs:
            self._wait("copy")
            self._mover.submit(job)
        self._jobs.clear()
        reports = self._mover.poll()
        for report in reports:
            say("copied", report.transfer)
            self._wait("report")
            say("reported", report.transfer)
        return reports

    def _wait(self, step):
        if step in self._steps:
            sys.stdin.readline()


def main():
    url, instance, rank, ranks, folder, steps, *shape = sys.argv[1:]
    if shape:
        layout = msgspec.json.decode(shape[1], type=Layout)
        tiers, mover = PLAN, open_mover(open_rank_stores(Path(folder), layout, NAMESPACE))
    else:
        tiers, mover = TIERS, FileMover(folder)
    plan = WorkerPlan(
        instance=instance,
        namespace=NAMESPACE,
        rank=int(rank),
        ranks=int(ranks),
        pp=int(shape[0]) if shape else 1,
        tiers=held_tiers(tiers),
    )
    options = WorkerOptions(heartbeat_s=HEARTBEAT_S, lock_folder=Path(folder))
    worker = Worker(url, plan, SteppingMover(mover, steps), options)
    worker.start()

    def tell_ready():
        if worker.wait_ready(3600):
            say("ready")

    threading.Thread(target=tell_ready, daemon=True).start()
    worker.wait()
    worker.stop()


if __name__ == "__main__":
    main()
