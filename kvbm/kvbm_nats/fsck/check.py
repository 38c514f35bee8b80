"""`kvbm fsck`: what the log says is stored, held against what is.

A live instance can be checked: nothing is locked, and what changed while it was read is told by its log. A kind of memory
is checked by one line in `CHECKS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kvbm_events.log import Log
from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.fsck.files import Question, leftovers, look_again, read_files
from kvbm_nats.fsck.report import NAMED_MAX, Report, TierReport
from kvbm_nats.fsck.view import LogView
from kvbm_statemachine import SlotState, State
from kvbm_statemachine.tier import Tier
from kvbm_tiers import Media, Medium


class Checker(NamedTuple):
    """What checks a tier in one kind of memory. Both run in a thread of their own.

    :ivar read: reads all of it
    :ivar look_again: called when the log was read on, and what left meanwhile is struck off the report
    """

    read: Callable[[Question], TierReport]
    look_again: Callable[[TierReport, Question], None]


_FILES = Checker(read_files, look_again)
CHECKS: Mapping[str, Checker] = {"arena": _FILES, "slab": _FILES}
"""By the scheme of a medium."""
UNSAID_S = 0.2
"""How long an owner's events may be on their way, when a block seems corrupt that may just have been evicted."""


class Check:
    """One instance's, over the media of its ranks.

    :ivar report: what was found
    :ivar corrupt: by tier, the keys of corrupt blocks
    :ivar holes: by tier whose blocks are nowhere, their keys
    """

    def __init__(self, view: LogView, instance: str, media: Sequence[Media], *, threads: int) -> None:
        """Nothing is read yet.

        Raises:
            InvalidCommand: the log has no such instance.
        """
        state = view.state
        if not state.epoch:
            raise InvalidCommand(f"instance {instance!r}", why="its log is empty", hint="see --instance and --nats-url")
        self._view, self._media, self._threads = view, media, threads
        self._questions: dict[TierName, Question] = {}
        self.report = Report(
            instance=instance,
            namespace=state.namespace,
            epoch=state.epoch,
            n=state.n,
            seq=view.recovered.after,
            notes=view.recovered.notes,
        )
        self.corrupt: dict[TierName, list[str]] = {}
        self.holes: dict[TierName, list[str]] = {}

    @property
    def state(self) -> State:
        """What the log tells, up to where it was read last."""
        return self._view.state

    @property
    def blocks(self) -> int:
        """How many there are to read."""
        return sum(len(tier.lineage.index) for tier in self._view.state.tiers.values() if self._scheme(tier) in CHECKS)

    async def run(self, advance: Callable[[int], None]) -> Report:
        """Read everything; `advance` is called with how many blocks were read more. Raises as `recover`."""
        self.report.tiers = [await self._check_tier(tier, advance) for tier in self._view.state.tiers.values()]
        if any(found.blocks for found in self.report.tiers):
            await asyncio.sleep(UNSAID_S)
        await self._view.catch_up()
        for found in self.report.tiers:
            await self._conclude(found)
        self.report.transfers = len(self._view.state.transfers)
        self.report.leftovers = leftovers(
            self._files(), [tier for tier in self.state.tiers if not any(tier in media for media in self._media)]
        )
        self.report.sound = all(tier.is_sound for tier in self.report.tiers) and not self.report.leftovers
        return self.report

    async def _check_tier(self, tier: Tier, advance: Callable[[int], None]) -> TierReport:
        scheme = self._scheme(tier)
        if scheme not in CHECKS:
            report = TierReport(tier=tier.name, capacity=tier.spec.capacity, registered=len(tier.lineage.index))
            report.unchecked = f"nothing reads {scheme}" if scheme else "it is memory that no file keeps"
            return report
        question = self._questions[tier.name] = Question(
            tier=tier,
            media=[media[tier.name] for media in self._media],
            namespace=self._view.state.namespace,
            threads=self._threads,
            advance=advance,
        )
        return await asyncio.to_thread(CHECKS[scheme].read, question)

    async def _conclude(self, report: TierReport) -> None:
        """With what the log tells now, after the reading.

        A slot is written anew only when the log has it that its block left: whoever did not leave was there all the time.
        """
        tier, evicted = self._view.state.tiers.get(report.tier), self._view.evicted.get(report.tier, set())
        left = [block for block in report.blocks if block.slot in evicted]
        report.blocks = [block for block in report.blocks if block.slot not in evicted]
        report.corrupt -= len(left)
        report.changed += len(left)
        if question := self._questions.get(report.tier):
            await asyncio.to_thread(CHECKS[question.media[0].scheme].look_again, report, question)
        self.corrupt |= {report.tier: [block.key for block in report.blocks]} if report.blocks else {}
        report.blocks = report.blocks[:NAMED_MAX]
        if tier:
            report.under_way = tier.slots.count(SlotState.ALLOCATED)
            report.quarantined = tier.slots.count(SlotState.QUARANTINED)
            self.holes |= {report.tier: list(tier.lineage.index)} if report.holes else {}

    def _scheme(self, tier: Tier) -> str:
        """What kind of memory a tier is; empty where nobody said."""
        schemes = {media[tier.name].scheme if tier.name in media else "" for media in self._media}
        return schemes.pop() if len(schemes) == 1 else ""

    def _files(self) -> Iterator[tuple[TierName, Medium]]:
        for media in self._media:
            for tier, medium in media.items():
                if medium.scheme in CHECKS and tier in self._view.state.tiers:
                    yield tier, medium


async def open_check(log: Log, instance: str, media: Sequence[Media], *, threads: int) -> Check:
    """Fold the log of an instance, and be ready to read. Raises as `recover` and `Check`."""
    return Check(await LogView.open(log, instance), instance, media, threads=threads)
