"""What a worker has been ordered and has not finished: between the thread that reads the log and the one that moves.

A transfer is *unfinished* from the moment that its order is seen until its last report is stored. `statement` takes
both, what was seen and what is unfinished, at one moment: owners conclude from it which slots are quiet.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from kvbm_tiers.mover import Deletion, Job
from kvbm_tiers.reports import Place


class Backlog:
    """See the module. Every method is for any thread.

    :ivar is_closed: nothing is begun any more
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._lock = threading.Lock()
        self._changed: Callable[[], None] = lambda: None
        self._seen: Place = (0, 0)
        self._waiting: deque[Job | Deletion] = deque()
        self._expected: dict[str, Sequence[int]] = {}
        self._expected_until: Place = (0, 0)
        self._unfinished: dict[str, set[int]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` when there is a job to begin, or nothing is begun any more. It must not block."""
        self._changed = changed

    def expect(self, until: Place, jobs: Mapping[str, Sequence[int]]) -> None:
        """An owner's answer: of the transfers up to `until`, these are to be done, in these slots."""
        with self._lock:
            self._seen = self._expected_until = until
            self._expected = dict(jobs)
            self._unfinished |= {transfer: set(slots) for transfer, slots in jobs.items()}

    def take(self, place: Place, order: Job | Deletion | None) -> None:
        """The next event of the log, and what it orders, if it does.

        What the owner's answer covers is history, but for the jobs that it named: a block that was evicted then may
        have been written again since.
        """
        with self._lock:
            if place <= self._expected_until:
                slots = self._expected.pop(order.transfer, None) if isinstance(order, Job) else None
                order = narrow(order, slots) if isinstance(order, Job) and slots else None
            elif isinstance(order, Job):
                self._unfinished[order.transfer] = set(order.slots)
            self._seen = max(self._seen, place)
            if order:
                self._waiting.append(order)
        if order:
            self._changed()

    def drop_waiting(self) -> None:
        """Forget what was not begun: its owner is no more. What was evicted is evicted, whoever the owner is."""
        with self._lock:
            jobs = [order.transfer for order in self._waiting if isinstance(order, Job)]
            for transfer in [*self._expected, *jobs]:
                self._unfinished.pop(transfer, None)
            self._expected.clear()
            self._waiting = deque(order for order in self._waiting if isinstance(order, Deletion))

    def next(self) -> Job | Deletion | None:
        """What is to be begun next, if there is something."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def finish(self, transfer: str, slots: Sequence[int]) -> None:
        """The report that these slots are quiet is stored."""
        with self._lock:
            left = self._unfinished.get(transfer)
            if left is not None:
                left.difference_update(slots)
                if not left:
                    del self._unfinished[transfer]

    def statement(self) -> tuple[Place, list[str]]:
        """What was seen, and what of it is unfinished."""
        with self._lock:
            return self._seen, [*self._unfinished]

    def close(self) -> None:
        """Begin nothing more."""
        self.drop_waiting()
        self.is_closed = True
        self._changed()


def narrow(job: Job, slots: Sequence[int]) -> Job:
    """The part of a job that goes to these slots: the others have arrived, and may be somebody else's by now."""
    wanted = set(slots)
    places = [at for at, slot in enumerate(job.slots) if slot in wanted]
    if len(places) == len(job.slots):
        return job
    return structs.replace(
        job,
        source_slots=[job.source_slots[at] for at in places],
        slots=[job.slots[at] for at in places],
        keys=[job.keys[at] for at in places],
        checksums=[job.checksums[at] for at in places] if job.checksums else (),
    )
