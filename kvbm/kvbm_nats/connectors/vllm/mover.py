"""A mover whose work is done by the engine's own workers: jobs go out, and reports come back, with the engine's steps.

The reports of several ranks come together in the same `Ledger` as those of tier workers. There is no silence to watch:
the engine does not outlive its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from kvbm_nats.workers.ledger import Ledger, memory_of
from kvbm_tiers import Deletion, Job, Memory, Report
from kvbm_tiers.reports import Hello, Reported, place_of

NOT_BEGUN = "it was not begun in time"


class EngineMover:
    """See `Mover`. Everything happens in the scheduler's thread."""

    def __init__(self, namespace: str, hellos: Sequence[Hello]) -> None:
        """The hellos are of the workers, in the order of their ranks."""
        self._ledger = Ledger(namespace, len(hellos), dead_after_s=float("inf"), now_s=0.0)
        for rank, hello in enumerate(hellos):
            self._ledger.hear(rank, hello, 0.0)
        self._ledger.memories()  # every owner is told of them, and not the first one only
        self._hellos, self._memories = list(hellos), list[Memory]()
        self._is_first, self._last = True, (0, 0)
        self._outgoing: list[Job] = []
        self._deletions: list[Deletion] = []
        self._dropped: set[str] = set()
        self._refused: list[Report] = []
        self._changed: Callable[[], None] = lambda: None

    @property
    def ranks(self) -> int:
        """How many workers have a slice of every block."""
        return len(self._ledger.ranks)

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:
        """See `Mover.begin`. Workers open their stores alone, so when they are new, whoever wrote before is gone."""
        is_quiet = self._ledger.begin(epoch, {} if self._is_first else left)
        self._is_first = False
        self._memories = [memory_of(hello) for hello in self._hellos]
        self._changed()
        return is_quiet

    def memories(self) -> list[Memory]:
        """See `Mover.memories`: that of every worker, for each owner."""
        memories, self._memories = self._memories, []
        return memories

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        self._last = place_of(job.transfer)
        if job.transfer in self._dropped:
            self._dropped.discard(job.transfer)
            self._refused.append(Report(transfer=job.transfer, slots=job.slots, reason=NOT_BEGUN))
            self._changed()
            return
        if job.source == "g1":
            # vLLM computes the last token of a prompt that was loaded whole, and writes its block again.
            job = replace(job, checksums=())
        self._ledger.submit(job)
        self._outgoing.append(job if self.ranks == 1 else replace(job, checksums=()))

    def drop(self, transfer: str) -> bool:
        """Do not begin it when its turn comes; false if that has come already."""
        if place_of(transfer) <= self._last:
            return False
        self._dropped.add(transfer)
        return True

    def take_jobs(self) -> list[Job]:
        """The jobs for the next step."""
        jobs, self._outgoing = self._outgoing, []
        return jobs

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`. It goes out before the jobs of its step: one that wrote these blocks was over by then."""
        self._deletions.append(deletion)

    def take_deletions(self) -> list[Deletion]:
        """The deletions for the next step."""
        deletions, self._deletions = self._deletions, []
        return deletions

    def hear(self, rank: int, report: Reported) -> None:
        """A worker's report."""
        self._ledger.hear(rank, report, 0.0)
        if self._ledger.has_news:
            self._changed()

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        refused, self._refused = self._refused, []
        return refused + self._ledger.take()

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        self._changed = changed

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`. A job that went out may have begun."""

    def close(self) -> None:
        """See `Mover.close`. The workers have movers of their own, and close them."""
