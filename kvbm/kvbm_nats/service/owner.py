"""The thread that an instance's `BlockManager` lives in, and the way to it from the event loop.

    owner = OwnerThread("replica-0", lambda: BlockManager.open(...), every_turn=expire_leases, on_failed=stop)
    manager = await owner.opened()
    slots = await owner.run(lambda manager: manager.allocate("req-1", 3))

Commands take microseconds, but some of what a manager does waits for the log: opening, snapshots, a full queue. So all
of it is done in one thread, in the order it was asked for, and the event loop never waits. What a command gives comes
back when its events are stored; meanwhile the next commands are decided, and the log stores them all at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

import structlog

from kvbm_events.schema.errors import LogError, LogUnavailable
from kvbm_nats.manager import BlockManager

T = TypeVar("T")
Work = Callable[[BlockManager], T]

BATCH_MAX = 64
"""Commands done before the first of them is answered."""
TURN_S = 0.5
"""How often an idle owner looks at leases and snapshots."""
TRANSFER_POLL_S = 0.002
"""How often it looks at its mover while a transfer is under way."""

_logger = structlog.get_logger(__name__)


class _Job(NamedTuple):
    """`work` is None for the job that ends the thread."""

    work: Work[Any] | None
    future: asyncio.Future[Any]
    durable: bool


class _Done(NamedTuple):
    """`n` is the last event that must be stored before the result may be told."""

    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None
    n: int


class _Wait(NamedTuple):
    reached: Callable[[BlockManager], bool]
    give_up_at_s: float
    future: asyncio.Future[Any]


class OwnerThread:
    """See the module. Every method is for the event loop that it was made on."""

    def __init__(
        self,
        instance: str,
        open_manager: Callable[[], BlockManager],
        *,
        every_turn: Callable[[BlockManager], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        """Open the manager in a new thread.

        Args:
            instance: for the thread's name
            open_manager: gives the manager
            every_turn: called in the thread, about every `TURN_S`
            on_failed: called once, on the loop, when the manager can do nothing any more
        """
        self._open_manager, self._every_turn, self._on_failed = open_manager, every_turn, on_failed
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[BlockManager] = self._loop.create_future()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._unproven: deque[_Done] = deque()
        self._acked_n = -1
        self._waits: list[_Wait] = []
        self._failure: Exception | None = None
        self._told = False
        self._turn_at_s = 0.0
        self._thread = threading.Thread(target=self._main, name=f"kvbm-owner-{instance}", daemon=True)
        self._thread.start()

    async def opened(self) -> BlockManager:
        """The manager, once it is there. Raises as `BlockManager.open`. Nobody but the thread may command it."""
        return await asyncio.shield(self._opened)

    async def run(self, work: Work[T], *, durable: bool = True) -> T:
        """What `work` gives; with `durable`, once all that was decided until then is stored.

        Raises:
            KvbmError: what `work` raises, at once; or why the manager can do nothing any more.
        """
        result: T = await self._ask(work, durable=durable)
        return result

    async def until(self, reached: Callable[[BlockManager], bool], timeout_s: float) -> bool:
        """Wait until transfers have come so far; whether they have in time."""
        future: asyncio.Future[bool] = self._loop.create_future()
        wait = _Wait(reached, time.monotonic() + timeout_s, future)
        await self.run(lambda _: self._waits.append(wait), durable=False)
        return await future

    def fail(self, error: Exception) -> None:
        """From now on nothing can be asked any more, and this is why."""
        if self._failure:
            return
        self._failure = error
        while self._unproven:
            _resolve(self._unproven.popleft()._replace(error=error))
        self._on_failed(error)

    async def close(self, last_work: Work[None]) -> None:
        """Do `last_work`, write what is left, and end the thread. Raises what keeps it from that, after ending."""
        try:
            if not self._failure:
                await self._ask(last_work, durable=False)
        finally:
            self._failure = self._failure or LogUnavailable(
                "the owner is closed", hint="ask the service that has it now"
            )
            await self._ask(None, durable=False)
            await asyncio.to_thread(self._thread.join)

    async def _ask(self, work: Work[Any] | None, *, durable: bool) -> Any:  # noqa: ANN401 - what the work gives
        if self._failure and work is not None:
            raise self._failure
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(_Job(work, future, durable))
        return await future

    # In the thread

    def _main(self) -> None:
        try:
            manager = self._open_manager()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the manager raises it
            self._tell(self._refuse_opening, error)
            return
        manager.watch(self._on_log)
        self._tell(self._opened.set_result, manager)
        while True:
            jobs = self._gather(manager)
            ending = next((job for job in jobs if job.work is None), None)
            self._tell(self._deliver, [self._do(manager, job) for job in jobs if job.work is not None])
            if ending:
                waiting = [_Done(wait.future, result=False, error=None, n=-1) for wait in self._waits]
                self._tell(self._deliver, [*waiting, self._end(manager, ending)])
                return
            self._take_turn(manager)

    def _gather(self, manager: BlockManager) -> list[_Job]:
        """Jobs that are there, waiting for the first as long as nothing else is due."""
        jobs: list[_Job] = []
        pause_s = TRANSFER_POLL_S if self._waits or manager.is_moving else TURN_S
        with suppress(Empty):
            jobs.append(self._jobs.get(timeout=pause_s))
            while len(jobs) < BATCH_MAX:
                jobs.append(self._jobs.get_nowait())
        return jobs

    @staticmethod
    def _do(manager: BlockManager, job: _Job) -> _Done:
        if job.work is None:
            raise RuntimeError("the job that ends the thread is not work")
        try:
            result = job.work(manager)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            return _Done(job.future, None, error, -1)
        return _Done(job.future, result, None, manager.state.n if job.durable else -1)

    @staticmethod
    def _end(manager: BlockManager, job: _Job) -> _Done:
        try:
            manager.close()
        except Exception as error:  # noqa: BLE001 - it belongs to whoever ends the thread
            return _Done(job.future, None, error, -1)
        return _Done(job.future, None, None, -1)

    def _take_turn(self, manager: BlockManager) -> None:
        """Move transfers on, answer who waits for them, and now and then do what is due by time."""
        now_s = time.monotonic()
        is_due = now_s >= self._turn_at_s
        if manager.failure:
            self._answer_waits(manager)
            return
        if not (is_due or self._waits or manager.is_moving):
            return
        try:
            manager.maintain()
            if is_due:
                self._turn_at_s = now_s + TURN_S
                self._every_turn(manager)
        except LogError as error:
            _logger.warning("upkeep put off", instance=manager.instance, why=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, this state is not to be trusted any more
            self._tell(self.fail, error)
        self._answer_waits(manager)

    def _answer_waits(self, manager: BlockManager) -> None:
        """Those who wait for transfers: it has come so far, their time is over, or it will never come."""
        now_s, open_waits, over = time.monotonic(), self._waits, list[_Done]()
        self._waits = []
        for wait in open_waits:
            reached = wait.reached(manager)
            if reached or manager.failure or wait.give_up_at_s <= now_s:
                over.append(_Done(wait.future, reached, manager.failure, -1))
            else:
                self._waits.append(wait)
        if over:
            self._tell(self._deliver, over)

    def _on_log(self) -> None:
        """In the log's thread: something was stored, or nothing can be stored any more."""
        if not self._told:
            self._told = True
            self._tell(self._settle)

    def _tell(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(function, *arguments)

    # On the loop

    def _refuse_opening(self, error: BaseException) -> None:
        self._failure = error if isinstance(error, Exception) else RuntimeError("the owner's thread was stopped")
        self._opened.set_exception(self._failure)

    def _deliver(self, done: list[_Done]) -> None:
        self._acked_n = self._opened.result().acked[1]
        for each in done:
            if each.n <= self._acked_n or each.error:
                _resolve(each)
            elif self._failure:
                _resolve(each._replace(error=self._failure))
            else:
                self._unproven.append(each)

    def _settle(self) -> None:
        self._told = False
        manager = self._opened.result()
        self._acked_n = manager.acked[1]
        while self._unproven and self._unproven[0].n <= self._acked_n:
            _resolve(self._unproven.popleft())
        if manager.failure:
            self.fail(manager.failure)


def _resolve(done: _Done) -> None:
    if done.future.done():
        return
    if done.error:
        done.future.set_exception(done.error)
    else:
        done.future.set_result(done.result)
