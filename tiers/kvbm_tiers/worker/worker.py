"""A tier worker: reads the log, moves its rank's slice, and tells the owner how it went. Embeddable: it has its own threads.

    worker = Worker(url, WorkerPlan(instance="replica-0", namespace="n=1"), mover)
    worker.start()
    ...
    worker.stop()

Rules
1. The order to move is a `…Started` event that the log proves: nothing before it is missing.
2. A new worker asks the owner what is still to be done of what is in the log already, and does only that.
3. When a new owner opens, what was not begun is forgotten; what is under way is finished and reported. Nothing of the
   new epoch is begun before its owner has taken the worker.
4. It outlives owners and NATS servers. It ends when asked to, or when it may not go on: another namespace, a gap in the log.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog
from msgspec import Struct

from kvbm_events import jetstream
from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema.errors import KvbmError
from kvbm_events.subjects import check_instance
from kvbm_tiers.mover import Mover, Report
from kvbm_tiers.reports import ReportsOptions
from kvbm_tiers.worker.backlog import Backlog
from kvbm_tiers.worker.claim import RankClaim
from kvbm_tiers.worker.eyes import Eyes
from kvbm_tiers.worker.hands import Hands
from kvbm_tiers.worker.plan import WorkerPlan
from kvbm_tiers.worker.voice import Voice

LOCK_FOLDER = Path("/dev/shm")  # noqa: S108 - where the memory is that the lock guards

_logger = structlog.get_logger(__name__)


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """How a worker behaves.

    :ivar heartbeat_s: how often it says that it lives
    :ivar in_flight_max: jobs that the mover has at a time
    :ivar waiting_max: jobs that wait here before the log is read on
    :ivar stop_timeout_s: how long `stop` waits for jobs that are under way
    :ivar lock_folder: where the lock stands that keeps a rank to one worker; None for no lock
    :ivar reports: what the stream of reports keeps
    :ivar connection: to the NATS server
    """

    heartbeat_s: float = 1.0
    in_flight_max: int = 16
    waiting_max: int = 1024
    stop_timeout_s: float = 10.0
    lock_folder: Path | None = LOCK_FOLDER
    reports: ReportsOptions = ReportsOptions()
    connection: jetstream.Options = jetstream.Options(name="kvbm worker")


class Worker:
    """See the module. `start`, `wait` and `stop` are for one thread.

    :ivar incarnation: names this worker among those of its rank before and after it
    :ivar failure: why it ended; None while it lives, and after a stop
    """

    def __init__(self, url: str, plan: WorkerPlan, mover: Mover, options: WorkerOptions | None = None) -> None:
        """Nothing is started yet. The mover is used and closed in a thread of the worker's own."""
        check_instance(plan.instance)
        self.incarnation = secrets.token_hex(8)
        self.failure: Exception | None = None
        self._url, self._plan, self._options = url, plan, options or WorkerOptions()
        self._mover = mover
        self._made_s = time.monotonic()
        self._voice: Voice | None = None
        self._is_ready, self._turned = False, threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"kvbm-worker-{plan.rank}", daemon=True)

    def start(self) -> None:
        """Begin; `failure` tells later if that did not succeed."""
        self._thread.start()

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until an owner has said what is open, or the worker has ended; whether it is ready."""
        self._turned.wait(timeout_s)
        return self._is_ready and self.failure is None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; whether it came in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def heartbeat_age_s(self) -> float:
        """Since a heartbeat was last stored where owners hear it, or since it was made. Fit for any thread."""
        return time.monotonic() - (self._voice.heard_s if self._voice else self._made_s)

    def ask_to_stop(self) -> None:
        """Let it end by itself. Fit for any thread and for a signal handler."""
        with suppress(RuntimeError):  # it has ended, and its loop is closed
            self._loop.call_soon_threadsafe(self._stopping.set)

    def stop(self) -> None:
        """Finish what is under way, report it, say good-bye. Raises `failure` if there is one."""
        if self._thread.is_alive():
            self.ask_to_stop()
            self._thread.join()
        if self.failure:
            raise self.failure

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._live())
        except Exception as error:
            self.failure = error
            if not isinstance(error, KvbmError):
                _logger.exception("the worker ended")
        self._turned.set()

    async def _live(self) -> None:
        options, plan = self._options, self._plan
        claim = self._claim_rank()
        backlog = Backlog()
        self._voice = voice = Voice(plan, self.incarnation, backlog, options.reports)
        hands = Hands(self._mover, backlog, self._hand_to(voice), in_flight_max=options.in_flight_max)
        hands.start()
        try:
            await voice.open(self._url, options.connection)
            log = await JetStreamLog.connect(self._url, options.connection)
            try:
                eyes = Eyes(log, plan, voice, backlog, waiting_max=options.waiting_max)
                await self._until_over(eyes, voice, hands)
            finally:
                await log.close()
        finally:
            await asyncio.to_thread(hands.stop, options.stop_timeout_s)
            await voice.close(options.stop_timeout_s)
            if claim:
                claim.release()

    def _claim_rank(self) -> RankClaim | None:
        plan, folder = self._plan, self._options.lock_folder
        try:
            return RankClaim(folder, plan.instance, plan.rank) if folder else None
        except BaseException:
            self._mover.close()
            raise

    async def _until_over(self, eyes: Eyes, voice: Voice, hands: Hands) -> None:
        """Work until a stop is asked for, or one of the parts fails; raise why."""

        async def look() -> None:
            await eyes.meet_owner()
            self._is_ready = True
            self._turned.set()
            await eyes.follow()

        work = (look(), voice.speak(), voice.beat(self._options.heartbeat_s), hands.failed(), self._stopping.wait())
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _hand_to(self, voice: Voice) -> Callable[[Report], None]:
        """What the hands call in their thread."""

        def tell(report: Report) -> None:
            with suppress(RuntimeError):  # the mover came to its end after the worker's
                self._loop.call_soon_threadsafe(voice.say, report)

        return tell
