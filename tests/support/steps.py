"""The steps of a transfer as its owner takes them, so that something can happen at each of them."""

from __future__ import annotations

from collections.abc import Callable

from kvbm_events.schema import AnyEvent, TransferCompleted, TransferStarted
from kvbm_nats.manager import BlockManager
from kvbm_tiers import Job, Mover, Report

OWNER_STEPS = ("decided", "sent", "acknowledged", "ordered", "reported", "arrived", "arrival sent")
"""decided, arrived: the event was made, and the log has not been told; sent: the thread that writes has it;
acknowledged: before the mover is told; ordered: after; reported: the mover's report is there, and not looked at."""
WORKER_STEPS = {"under the worker's hands": ("copy", "submitted"), "before the report": ("report", "copied")}
"""While the owner waits: what the worker waits before, and the last that it said."""


def watch(owner: BlockManager, mover: Mover, reached: Callable[[str], None]) -> None:
    """Call `reached` in the owner's thread with every step that a transfer takes from now on."""
    sink, submit, poll = owner._desk.sink, mover.submit, mover.poll

    def note(event: AnyEvent) -> None:
        names = ("decided", "sent") if isinstance(event, TransferStarted) else ("arrived", "arrival sent")
        is_step = isinstance(event, TransferStarted | TransferCompleted)
        if is_step:
            reached(names[0])
        sink(event)
        if is_step:
            reached(names[1])

    def order(job: Job) -> None:
        reached("acknowledged")
        submit(job)
        reached("ordered")

    def look() -> list[Report]:
        reports = poll()
        if reports:
            reached("reported")
        return reports

    owner._desk.sink = note
    mover.submit, mover.poll = order, look  # type: ignore[method-assign] # the very object that the owner has
