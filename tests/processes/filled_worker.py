"""A tier worker in whose g1 an engine seems to compute: `filled_worker.py URL INSTANCE NAMESPACE PLAN LAYOUT LOCKS STORE…`.

What goes down is what its key says (`kvbm_nats.traces.content`), and what comes up is compared with that. It prints `ready`,
and then, whenever blocks came up, how many were as they had been written until now, and how many were not.
"""

import sys
import threading
from pathlib import Path

from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.plan import parse_plan
from kvbm_nats.traces.content import Content
from kvbm_tiers import Meter, Stack, parse_media, preset
from kvbm_tiers.reports import HeldTier
from kvbm_tiers.worker import Worker, WorkerOptions, WorkerPlan


class FilledMover(Meter):
    """The stack's mover, over a g1 that is filled when a block goes down."""

    def __init__(self, stack):
        super().__init__(stack.mover)
        self._content = Content(stack.stores["g1"])
        self._coming = {}

    def submit(self, job):
        if job.source == "g1":
            self._content.fill(job.source_slots, job.keys)
        elif job.tier == "g1":
            self._coming[job.transfer] = dict(zip(job.slots, job.keys, strict=True))
        super().submit(job)

    def poll(self):
        reports = super().poll()
        came = [report for report in reports if report.transfer in self._coming and not report.reason]
        for report in came:
            keys = self._coming[report.transfer]
            self._content.check(report.slots, [keys[slot] for slot in report.slots])
        if came:
            sys.stdout.write(f"checked {self._content.verified} {len(self._content.wrong)}\n")
            sys.stdout.flush()
        return reports


def main():
    log_to_stderr()
    url, instance, namespace, plan, layout, locks, *stores = sys.argv[1:]
    tiers = parse_plan(plan)
    with Stack(tiers, preset(layout), namespace, parse_media(stores)) as stack:
        held = tuple(HeldTier.of(spec, stack.openings[spec.tier]) for spec in tiers)
        plan = WorkerPlan(instance=instance, namespace=namespace, tiers=held)
        worker = Worker(url, plan, FilledMover(stack), WorkerOptions(lock_folder=Path(locks)))
        worker.start()

        def tell_ready():
            if worker.wait_ready(3600):
                sys.stdout.write("ready\n")
                sys.stdout.flush()

        threading.Thread(target=tell_ready, daemon=True).start()
        worker.wait()
        worker.stop()


if __name__ == "__main__":
    main()
