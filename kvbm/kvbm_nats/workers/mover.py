"""A mover whose work is done by tier workers, in processes of their own that outlive the owner.

The order to move is the `…Started` event itself: workers read the log. Here their reports come together. All of NATS is on
a thread of its own; what the owner's thread calls takes a lock for microseconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

import structlog
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from kvbm_events import jetstream
from kvbm_events.jetstream.api import Api
from kvbm_events.jetstream.connection import Connection
from kvbm_nats.status import WorkerStatus
from kvbm_nats.workers.ledger import Ledger
from kvbm_tiers import Deletion, Job, Memory, Report
from kvbm_tiers.reports import (
    Hello,
    InvalidReport,
    ReportFeed,
    ReportsOptions,
    decode_message,
    decode_question,
    encode,
    open_subject,
)

TICKS = 10
"""How often in `dead_after_s` the ranks' silence is looked at."""
START_TIMEOUT_S = 60.0

_logger = structlog.get_logger(__name__)


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """How an owner deals with its workers.

    :ivar dead_after_s: a rank that is silent for so long fails what it has open
    :ivar reports: what the stream of reports keeps
    :ivar connection: to the NATS server
    """

    dead_after_s: float = 10.0
    reports: ReportsOptions = ReportsOptions()
    connection: jetstream.Options = jetstream.Options(name="kvbm owner's reports")


class WorkerMover:
    """See the module. Made by `connect`; the methods are those of `Mover`."""

    def __init__(self, ledger: Ledger, instance: str, options: WorkerOptions, clock: Callable[[], float]) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._instance, self._options, self._clock = instance, options, clock
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._hostile, self._refused = 0, ""
        self._changed: Callable[[], None] = _nobody_watches
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name=f"kvbm-reports-{instance}", daemon=True)

    @classmethod
    def connect(
        cls,
        url: str,
        instance: str,
        *,
        namespace: str,
        ranks: int = 1,
        options: WorkerOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Listen to the workers of an instance from now on.

        Args:
            url: of the NATS server
            instance: whose workers
            namespace: the owner's; workers of another one are not taken
            ranks: how many workers hold a slice of every block
            options: see `WorkerOptions`
            clock: a steady one, in seconds

        Raises:
            LogUnavailable, LogFull: there is no server, or it has no stream for reports.
        """
        options = options or WorkerOptions()
        ledger = Ledger(namespace, ranks, dead_after_s=options.dead_after_s, now_s=clock())
        self = cls(ledger, instance, options, clock)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(url), self._loop).result(START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        return self

    @property
    def hellos(self) -> list[Hello | None]:
        """What each rank's worker said of itself; None for one that was not heard yet."""
        with self._lock:
            return [rank.hello for rank in self._ledger.ranks]

    def status(self) -> list[WorkerStatus]:
        """The workers, one a rank."""
        with self._lock:
            return [rank.status(self._clock()) for rank in self._ledger.ranks]

    @property
    def passed_over(self) -> int:
        """Messages that counted nothing: late, of a worker that was followed, or no messages at all."""
        with self._lock:
            return self._ledger.passed_over + self._hostile

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:
        """See `Mover.begin`: what is open may still be written to until each rank has said otherwise."""
        with self._lock:
            return self._ledger.begin(epoch, left)

    def memories(self) -> list[Memory]:
        """See `Mover.memories`: a worker's, from its first word on."""
        with self._lock:
            return self._ledger.memories()

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        with self._lock:
            self._ledger.submit(job)

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        with self._lock:
            return self._ledger.take()

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        self._changed = changed

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`. The order stands in the log, and a worker may have begun."""

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`. The event stands in the log, and workers read it."""

    def close(self) -> None:
        """Listen no more. The workers go on with what they have begun, and tell it the next owner."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(START_TIMEOUT_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()

    async def _start(self, url: str) -> None:
        self._connection = connection = await Connection.open(url, self._options.connection)
        feed = ReportFeed(Api(connection), self._instance, self._options.reports)
        await feed.start()
        try:
            await connection.nc.subscribe(open_subject(self._instance), cb=self._on_question)
        except (NatsError, OSError) as error:
            raise connection.unavailable(str(error)) from error
        connection.watch(self._on_connection)
        self._tasks = [asyncio.create_task(work) for work in (self._listen(feed), self._watch_silence())]

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection:
            await self._connection.close()

    async def _listen(self, feed: ReportFeed) -> None:
        async for batch in feed.batches():
            for entry in batch:
                self._hear(entry.subject, entry.data)
            self._tell_news()

    def _hear(self, subject: str, data: bytes) -> None:
        try:
            rank, message = decode_message(subject, data)
        except InvalidReport as error:
            with self._lock:
                self._hostile += 1
            _logger.warning("a report was passed over", instance=self._instance, why=str(error))
            return
        if isinstance(message, Hello):
            self._check(message)
        with self._lock:
            self._ledger.hear(rank, message, self._clock())

    def _check(self, hello: Hello) -> None:
        """Say it loudly, once, when a worker cannot be taken."""
        refusal = self._ledger.refusal(hello)
        if refusal and refusal != self._refused:
            self._refused = refusal
            _logger.error("a worker was refused", instance=self._instance, rank=hello.rank, why=refusal)

    async def _on_question(self, message: Msg) -> None:
        try:
            question = decode_question(message.data)
        except InvalidReport as error:
            with self._lock:
                self._hostile += 1
            _logger.warning("a question was passed over", instance=self._instance, why=str(error))
            return
        self._check(question.hello)
        with self._lock:
            if question.epoch != self._ledger.epoch:
                return
            answer = self._ledger.answer(question, self._clock())
        self._tell_news()  # before the worker goes on: the owner must know its memory first
        with suppress(NatsError):  # the worker asks again
            await message.respond(encode(answer))

    def _on_connection(self) -> None:
        with self._lock:
            self._ledger.pause(self._clock())

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(self._options.dead_after_s / TICKS)
            with self._lock:
                if self._connection and self._connection.connected:
                    self._ledger.tick(self._clock())
                else:
                    self._ledger.pause(self._clock())
            self._tell_news()

    def _tell_news(self) -> None:
        with self._lock:
            has_news = self._ledger.has_news
        if has_news:
            self._changed()


def _nobody_watches() -> None:
    return
