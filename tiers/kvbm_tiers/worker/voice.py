"""What a worker says: hello, heartbeats, reports until they are in their stream, and the question what is open.

A report is said again until the stream has it, and only then its transfer counts as finished. So whoever finds a
transfer neither reported nor unfinished knows that its report has left the stream again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress

import msgspec
import structlog
from nats.errors import Error as NatsError

from kvbm_events.jetstream import Options
from kvbm_events.jetstream.api import Api, PubAck
from kvbm_events.jetstream.asking import ask
from kvbm_events.jetstream.connection import RETRY_PAUSE_S, Connection, Refused
from kvbm_events.schema import to_runs
from kvbm_events.schema.errors import KvbmError, LogUnavailable
from kvbm_tiers.mover import Report
from kvbm_tiers.reports import (
    REPORTS,
    Heartbeat,
    Hello,
    InvalidReport,
    Message,
    OpenAnswer,
    OpenQuestion,
    Reported,
    ReportsOptions,
    decode_answer,
    encode,
    ensure_reports,
    open_subject,
    report_subject,
)
from kvbm_tiers.worker.backlog import Backlog
from kvbm_tiers.worker.plan import WorkerPlan

ASK_TIMEOUT_S = 1.0

_logger = structlog.get_logger(__name__)


class Voice:
    """See the module. Lives on the worker's event loop.

    :ivar heard_s: when a heartbeat was last in its stream, by `time.monotonic`; when it began, before the first
    """

    def __init__(self, plan: WorkerPlan, incarnation: str, backlog: Backlog, options: ReportsOptions) -> None:
        self._plan, self._incarnation, self._backlog, self._options = plan, incarnation, backlog, options
        self._unsaid: deque[Report | None] = deque()
        self._wake = asyncio.Event()
        self._connection: Connection | None = None
        self.heard_s = time.monotonic()

    async def open(self, url: str, options: Options) -> None:
        """Connect, and make sure of the stream. Raises LogUnavailable, LogFull."""
        self._connection = connection = await Connection.open(url, options)
        self._api = api = Api(connection)
        await connection.persist(lambda: ensure_reports(api, self._options))

    def say(self, report: Report) -> None:
        """A report, in its turn."""
        self._unsaid.append(report)
        self._wake.set()

    def say_hello(self) -> None:
        """Who this is and what it has to do, in its turn."""
        self._unsaid.append(None)
        self._wake.set()

    async def speak(self) -> None:
        """Say what there is to say, for ever."""
        while True:
            self._wake.clear()
            await self._say_all()
            await self._wake.wait()

    async def beat(self, heartbeat_s: float) -> None:
        """Say that the worker lives, for ever. What cannot be said now is not said later."""
        while True:
            await asyncio.sleep(heartbeat_s)
            with suppress(LogUnavailable):
                await self._publish(self._heartbeat())
                self.heard_s = time.monotonic()

    async def ask(self, epoch: int) -> OpenAnswer | None:
        """What the owner of this epoch says is still to be done; None where nobody answered."""
        nc = self._api.connection.nc
        question = encode(OpenQuestion(epoch=epoch, hello=self._hello()))
        try:
            return decode_answer(
                (await ask(nc, open_subject(self._plan.instance), question, timeout_s=ASK_TIMEOUT_S)).data
            )
        except (NatsError, OSError, TimeoutError):
            return None
        except InvalidReport as error:
            _logger.warning("an answer was passed over", why=str(error))
            return None

    async def close(self, timeout_s: float) -> None:
        """Say what is left, and good-bye, if that can be done in time."""
        if self._connection is None:
            return
        with suppress(TimeoutError, KvbmError):
            async with asyncio.timeout(timeout_s):
                await self._say_all()
                await self._publish(self._heartbeat(ended=True))
        await self._connection.close()

    async def _say_all(self) -> None:
        while self._unsaid:
            report = self._unsaid[0]
            message = self._reported(report) if report else self._hello()
            await self._until_stored(message)
            self._unsaid.popleft()
            if report and report.stopped:
                self._backlog.finish(report.transfer, report.slots)

    async def _until_stored(self, message: Message) -> None:
        while True:
            try:
                await self._publish(message)
            except Refused:
                raise
            except LogUnavailable as error:
                if self._api.connection.closed:
                    raise
                _logger.debug("a report is said again", why=str(error))
                await self._make_sure()
            else:
                return

    async def _make_sure(self) -> None:
        """Of the stream, should it be gone."""
        await asyncio.sleep(RETRY_PAUSE_S)
        with suppress(LogUnavailable):
            if self._api.connection.connected and await self._api.stream_info(REPORTS) is None:
                await ensure_reports(self._api, self._options)

    async def _publish(self, message: Message) -> None:
        """Raises LogUnavailable where the stream did not say that it has it."""
        connection = self._api.connection
        if not connection.connected:
            raise connection.unavailable("the connection is lost")
        subject = report_subject(self._plan.instance, self._plan.rank, message)
        ack = msgspec.json.decode(await self._api.request(subject, encode(message)), type=PubAck)
        if ack.error:
            raise connection.unavailable(f"{ack.error.description} ({ack.error.err_code})")

    def _hello(self) -> Hello:
        plan, (seen, unfinished) = self._plan, self._backlog.statement()
        return Hello(
            incarnation=self._incarnation,
            rank=plan.rank,
            ranks=plan.ranks,
            pp=plan.pp,
            namespace=plan.namespace,
            tiers=list(plan.tiers),
            seen=seen,
            unfinished=unfinished,
        )

    def _heartbeat(self, *, ended: bool = False) -> Heartbeat:
        seen, unfinished = self._backlog.statement()
        return Heartbeat(incarnation=self._incarnation, seen=seen, unfinished=unfinished, ended=ended)

    def _reported(self, report: Report) -> Reported:
        return Reported(
            incarnation=self._incarnation,
            transfer=report.transfer,
            slots=to_runs(report.slots),
            reason=report.reason[:1024],
            stopped=report.stopped,
            length_bytes=report.length_bytes,
            checksums=report.checksums,
        )
