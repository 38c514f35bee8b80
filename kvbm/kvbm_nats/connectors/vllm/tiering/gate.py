"""The mover, and before it a gate: vLLM's host memory is touched only while vLLM waits for it, chunk by chunk.

What an owner orders goes through unless vLLM has taken a chunk back by then: that block is reported as failed, and nothing of it
begins. So a chunk that vLLM uses for something else is never read as what it was, nor written to. The mover outlives owners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kvbm_events.schema import TierName
from kvbm_tiers import Deletion, Job, Memory, Mover, Report

PRIMARY: TierName = "g2"
NOT_OURS = "vLLM had taken the chunk back"
Block = tuple[int, str, bool]
"""A chunk of vLLM's host memory, the key that it has, or is to have, and whether it is to be written."""


class _Moving(Struct):
    """What the mover has of a job: by destination slot that it may still write, the chunk that it may still use, or -1."""

    open: dict[int, int]
    is_load: bool


class Gate:
    """See `Mover`. Everything happens in the scheduler's thread."""

    def __init__(self, mover: Mover) -> None:
        self._mover, self._memories = mover, mover.memories()
        self._untold: list[Memory] = []
        self._given: Counter[Block] = Counter()
        self._moving: dict[str, _Moving] = {}
        self._in_use: Counter[int] = Counter()
        self._reports: list[Report] = []
        self._changed: Callable[[], None] = lambda: None

    def give(self, blocks: Iterable[Block]) -> None:
        """VLLM waits for what is to become of these."""
        self._given.update(blocks)

    def take_back(self, blocks: Iterable[Block]) -> None:
        """Nothing of them is to begin any more, unless somebody else gave them too."""
        self._given.subtract(blocks)
        self._given = +self._given

    def uses(self, chunks: Iterable[int]) -> bool:
        """Whether the mover may still read one of these chunks as good, or write to it."""
        return any(chunk in self._in_use for chunk in chunks)

    def sift(self) -> None:
        """Take note of what has ended, and keep it for the owner; for as long as there is none."""
        for report in self._mover.poll():
            self._note(report)
            self._reports.append(report)

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:
        """See `Mover.begin`. What an owner before has ordered may be under way still."""
        self.sift()
        is_quiet = self._mover.begin(epoch, left) and not self._moving
        if is_quiet:
            self._reports.clear()
        self._untold = list(self._memories)
        self._changed()
        return is_quiet

    def memories(self) -> list[Memory]:
        """See `Mover.memories`: for each owner."""
        memories, self._untold = self._untold, []
        return memories

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        chunks = job.source_slots if job.source == PRIMARY else job.slots if job.tier == PRIMARY else None
        if chunks is not None:
            blocks = zip(chunks, job.keys, strict=True)
            places = [at for at, (chunk, key) in enumerate(blocks) if (chunk, key, job.is_onboard) in self._given]
            if len(places) < len(job.slots):
                kept = set(places)
                refused = [slot for at, slot in enumerate(job.slots) if at not in kept]
                self._reports.append(Report(transfer=job.transfer, slots=refused, reason=NOT_OURS))
                self._changed()
                chunks, job = [chunks[at] for at in places], _part(job, places)
        if not job.slots:
            return
        self._moving[job.transfer] = _Moving(
            dict(zip(job.slots, chunks or [-1] * len(job.slots), strict=True)), job.is_onboard
        )
        self._in_use.update(chunks or ())
        self._mover.submit(job)

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        self.sift()
        reports, self._reports = self._reports, []
        return reports

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        self._changed = changed
        self._mover.watch(changed)

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`."""
        self._mover.cancel(transfer)

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`."""
        self._mover.forget(deletion)

    def close(self) -> None:
        """See `Mover.close`. The mover goes on: another owner may follow, and who made it closes it."""

    def _note(self, report: Report) -> None:
        """A block that arrived is used no more. One that failed is not read as good any more, but may be written still."""
        moving = self._moving.get(report.transfer)
        if not moving:
            return
        for slot in report.slots:
            if report.stopped:
                self._let_go(moving.open.pop(slot, -1))
            elif not moving.is_load and moving.open.get(slot, -1) >= 0:
                self._let_go(moving.open[slot])
                moving.open[slot] = -1
        if not moving.open:
            del self._moving[report.transfer]

    def _let_go(self, chunk: int) -> None:
        if chunk >= 0:
            self._in_use[chunk] -= 1
            if not self._in_use[chunk]:
                del self._in_use[chunk]


def _part(job: Job, places: Sequence[int]) -> Job:
    """Some blocks of a job."""
    return replace(
        job,
        source_slots=[job.source_slots[at] for at in places],
        slots=[job.slots[at] for at in places],
        keys=[job.keys[at] for at in places],
        checksums=[job.checksums[at] for at in places] if job.checksums else (),
    )
