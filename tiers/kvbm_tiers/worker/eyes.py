"""What a worker sees: the owner's answer when it starts, and from there on the instance's log, in order and proven."""

from __future__ import annotations

import asyncio

import structlog
from msgspec import structs

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema import AnyEvent, Evicted, Opened, TransferStarted, to_slots
from kvbm_events.schema.errors import LogGap, LogUnavailable
from kvbm_events.sequencer import Sequencer
from kvbm_tiers.mover import Deletion, Job, Report
from kvbm_tiers.reports import OpenAnswer, place_of
from kvbm_tiers.worker.backlog import Backlog
from kvbm_tiers.worker.plan import WorkerPlan, refused
from kvbm_tiers.worker.voice import Voice

TRIMMED = "its order was trimmed from the log"
ASK_AGAIN_S = 0.25
FULL_PAUSE_S = 0.005
LAST_N = 1 << 62
"""Beyond the last event of any epoch."""

_logger = structlog.get_logger(__name__)


class Eyes:
    """See the module. `meet_owner` first, then `follow`."""

    def __init__(
        self, log: JetStreamLog, plan: WorkerPlan, voice: Voice, backlog: Backlog, *, waiting_max: int
    ) -> None:
        self._log, self._plan, self._voice, self._backlog = log, plan, voice, backlog
        self._waiting_max = waiting_max
        self._sequencer, self._after = Sequencer(), 0

    async def meet_owner(self) -> None:
        """Ask what is open, as long as it takes, and find the place from where the log is to be read.

        Raises:
            WorkerRefused: the owner says that this is not a worker of its instance.
        """
        while True:
            try:
                if await self._meet():
                    return
            except (LogUnavailable, LogGap) as error:  # a gap: yet another owner came meanwhile
                _logger.debug("asking again what is open", why=str(error))
            await asyncio.sleep(ASK_AGAIN_S)

    async def follow(self) -> None:
        """Read the log, for ever.

        Raises:
            WorkerRefused: an owner opened the instance that does not take this worker.
            LogGap, InvalidEvent: the log holds what this worker may not pass over.
        """
        while True:
            try:
                async for batch in self._log.read(self._plan.instance, after=self._after):
                    for entry in batch:
                        for ordered in self._sequencer.feed(entry):
                            await self._take(ordered.event)
                        self._after = entry.seq
                    while len(self._backlog) >= self._waiting_max:  # noqa: ASYNC110 - it is another thread that makes room
                        await asyncio.sleep(FULL_PAUSE_S)
            except LogUnavailable as error:
                _logger.warning("the log cannot be read", why=str(error))
            await asyncio.sleep(ASK_AGAIN_S)

    async def _meet(self) -> bool:
        """One attempt. Owners that were fenced may still listen, so the epoch is the log's own."""
        last = await self._log.last_place(self._plan.instance)
        answer = await self._voice.ask(last[0]) if last else None
        if answer is None:
            return False
        await self._begin_after(self._accepted(answer))
        self._voice.say_hello()
        return True

    async def _begin_after(self, answer: OpenAnswer) -> None:
        """Take note of what is open, and be ready to read from the first of it on."""
        numbers = [place_of(job.transfer)[1] for job in answer.jobs]
        known = min([answer.n, *(n - 1 for n in numbers)])
        start = await self._log.seek(self._plan.instance, answer.epoch, known)
        self._expect(answer)
        for job, n in zip(answer.jobs, numbers, strict=True):
            if n < start.first_n:
                self._voice.say(Report(transfer=job.transfer, slots=to_slots(job.slots), reason=TRIMMED))
        self._after = start.after
        self._sequencer.resume(self._plan.instance, answer.epoch, max(known, start.first_n - 1))

    def _accepted(self, answer: OpenAnswer) -> OpenAnswer:
        if answer.refusal:
            raise refused(self._plan, answer.refusal)
        return answer

    def _expect(self, answer: OpenAnswer) -> None:
        jobs = {job.transfer: to_slots(job.slots) for job in answer.jobs}
        self._backlog.expect((answer.epoch, answer.n), jobs)

    def _order(self, event: AnyEvent) -> Job | Deletion | None:
        """What an event orders this rank to do."""
        if isinstance(event, TransferStarted):
            return self._job(event)
        return Deletion.of(event) if isinstance(event, Evicted) else None

    def _job(self, event: TransferStarted) -> Job:
        """The job for this rank. The checksums are of whole blocks: of several slices the owner compares them."""
        job = Job.of(event)
        return job if self._plan.ranks == 1 else structs.replace(job, checksums=())

    async def _take(self, event: AnyEvent) -> None:
        if isinstance(event, Opened):
            await self._meet_next(event)
        else:
            self._backlog.take((event.epoch, event.n), self._order(event))

    async def _meet_next(self, opened: Opened) -> None:
        """A new owner. Nothing of its epoch is done before it has taken this worker; nor if yet another one follows."""
        if opened.namespace != self._plan.namespace:
            why = f"its namespace is {self._plan.namespace!r}, and epoch {opened.epoch} is of {opened.namespace!r}"
            raise refused(self._plan, why)
        self._backlog.drop_waiting()
        while True:
            try:
                last = await self._log.last_place(self._plan.instance)
            except LogUnavailable:
                last = None
            if last and last[0] > opened.epoch:
                self._backlog.expect((opened.epoch, LAST_N), {})
                return
            answer = await self._voice.ask(opened.epoch)
            if answer:
                self._expect(self._accepted(answer))
                self._voice.say_hello()
                return
            await asyncio.sleep(ASK_AGAIN_S)
