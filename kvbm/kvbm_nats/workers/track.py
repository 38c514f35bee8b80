"""One transfer as its ranks tell it: what became of each block at each rank, and what of that the owner was told.

A block arrived when it arrived at every rank. It failed when it failed at one of them, and the owner is told once every
rank has said something; it is over when every rank writes to its slot no more.

A block's length is the sum over its ranks. Its checksum is its one rank's own; of several ranks it is xxh3-64 over their
digits, one rank after the other. One worker among several cannot know whether its slice is what it was; here it is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from xxhash import xxh3_64_hexdigest

from kvbm_events.schema import CHECKSUM_DIGITS
from kvbm_tiers import CORRUPT, Report, loss
from kvbm_tiers.reports import Reported, place_of


class Outcome(NamedTuple):
    """What became of a block at one rank. With `stopped` it is final: the rank writes to the slot no more."""

    reason: str = ""
    stopped: bool = True
    length_bytes: int = 0
    checksum: str = ""


class _Block:
    """What the ranks said of one block.

    :ivar told: why the owner was told that it failed; empty if it was not
    :ivar checksum: what it must have; empty if nobody knows
    """

    __slots__ = ("checksum", "outcomes", "told")

    def __init__(self, ranks: int, told: str, checksum: str) -> None:
        self.outcomes: list[Outcome | None] = [None] * ranks
        self.told, self.checksum = told, checksum

    def reason(self) -> str:
        """Why it did not arrive; empty if it did."""
        outcomes = [outcome for outcome in self.outcomes if outcome is not None]
        why = self.told or _reason(outcomes)
        return why or (CORRUPT if self.checksum and self.checksum != combine(outcomes) else "")


class Track:
    """See the module.

    :ivar place: where its `…Started` event stands
    :ivar blocks: those that are not over, by destination slot
    """

    def __init__(
        self, transfer: str, slots: Sequence[int], ranks: int, *, told: str = "", checksums: Sequence[str] = ()
    ) -> None:
        self.transfer, self.place = transfer, place_of(transfer)
        sums = checksums or [""] * len(slots)
        self.blocks = {slot: _Block(ranks, told, checksum) for slot, checksum in zip(slots, sums, strict=True)}

    def left(self, rank: int) -> list[int]:
        """Slots of which this rank has said nothing, and which may still arrive."""
        return [slot for slot, block in self.blocks.items() if block.outcomes[rank] is None and not block.told]

    def silent(self, rank: int) -> list[int]:
        """Slots of which this rank has said nothing."""
        return [slot for slot, block in self.blocks.items() if block.outcomes[rank] is None]

    def hear(self, rank: int, report: Reported, slots: Sequence[int]) -> list[Report]:
        """A rank's report; what the owner is to be told. What was told already, and slots of others, count nothing."""
        sums = report.checksums
        for at, slot in enumerate(slots or self.silent(rank)):
            digits = sums[at * CHECKSUM_DIGITS : (at + 1) * CHECKSUM_DIGITS]
            self._set(rank, slot, Outcome(report.reason, report.stopped, report.length_bytes, digits))
        return self._settle()

    def fail(self, rank: int, reason: str) -> list[Report]:
        """The rank is silent: it may still be writing."""
        return self._all(rank, lambda before: before or Outcome(reason, stopped=False))

    def quiet(self, rank: int, reason: str) -> list[Report]:
        """The rank is known to write no more; what did not arrive until now does not arrive there."""
        return self._all(rank, lambda before: before._replace(stopped=True) if before else Outcome(reason))

    def _all(self, rank: int, change: Callable[[Outcome | None], Outcome]) -> list[Report]:
        for slot, block in self.blocks.items():
            self._set(rank, slot, change(block.outcomes[rank]))
        return self._settle()

    def _set(self, rank: int, slot: int, outcome: Outcome) -> None:
        block = self.blocks.get(slot)
        if block is None:
            return
        before = block.outcomes[rank]
        if before is None or not before.stopped:
            block.outcomes[rank] = outcome

    def _settle(self) -> list[Report]:
        """Tell what has become certain, and let go of what is over."""
        news = _News(self.transfer)
        for slot, block in list(self.blocks.items()):
            outcomes = [outcome for outcome in block.outcomes if outcome is not None]
            if len(outcomes) < len(block.outcomes):
                continue
            reason = block.reason()
            stopped = all(outcome.stopped for outcome in outcomes)
            if not reason:
                length_bytes = sum(outcome.length_bytes for outcome in outcomes)
                news.add(slot, Outcome(length_bytes=length_bytes, checksum=combine(outcomes)))
            elif stopped or not block.told:
                news.add(slot, Outcome(reason, stopped))
                block.told = reason
            if stopped:
                del self.blocks[slot]
        return news.reports()


class _News:
    """Outcomes of blocks, gathered to reports."""

    def __init__(self, transfer: str) -> None:
        self._transfer = transfer
        self._groups: dict[tuple[str, bool, int, bool], tuple[list[int], list[str]]] = {}

    def add(self, slot: int, outcome: Outcome) -> None:
        key = (outcome.reason, outcome.stopped, outcome.length_bytes, bool(outcome.checksum))
        slots, sums = self._groups.setdefault(key, ([], []))
        slots.append(slot)
        sums.append(outcome.checksum)

    def reports(self) -> list[Report]:
        return [
            Report(
                transfer=self._transfer,
                slots=slots,
                reason=reason,
                stopped=stopped,
                length_bytes=length_bytes,
                checksums="".join(sums),
            )
            for (reason, stopped, length_bytes, _), (slots, sums) in self._groups.items()
        ]


def combine(outcomes: Iterable[Outcome]) -> str:
    """The checksum of a block whose slices have these, in the order of their ranks; none if one of them has none."""
    sums = [outcome.checksum for outcome in outcomes]
    if not all(sums):
        return ""
    return sums[0] if len(sums) == 1 else xxh3_64_hexdigest("".join(sums).encode())


def _reason(outcomes: Sequence[Outcome]) -> str:
    """Why the block failed, of all ranks where it did; empty if it failed at none."""
    reasons = [outcome.reason for outcome in outcomes]
    if lost := next(filter(loss, reasons), ""):
        return lost
    if len(reasons) == 1:
        return reasons[0]
    named = [r if r.startswith("rank ") else f"rank {rank}: {r}" for rank, r in enumerate(reasons) if r]
    return "; ".join(named)
