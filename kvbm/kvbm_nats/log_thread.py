"""The thread that writes an owner's events, so that deciding never waits for the log.

The owner puts events in a queue and goes on; this thread runs an event loop with the log's writer and sends what is in
the queue. So the queue is the group commit: while one batch is on its way, the next gathers.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from kvbm_events.log import Log, Writer
from kvbm_events.schema import AnyEvent, Opened
from kvbm_events.schema.errors import LogError, LogUnavailable

T = TypeVar("T")
APPEND_MAX = 1000
"""Events handed to the writer at once."""
CALL_TIMEOUT_S = 60.0


class LogObserver(Protocol):
    """Who follows what an owner writes, on the thread that writes it. It must be quick, and must not raise."""

    def sending(self, events: Sequence[AnyEvent]) -> None:
        """These events, one or more in their order, are handed to the log next."""
        ...

    def acked(self, n: int) -> None:
        """Every event up to this number is stored."""
        ...


class LogThread:
    """See the module. Every method but the callbacks is for the owner's thread.

    A log that is given is used and left open; one that is connected here is closed here.

    :ivar acked_n: every event up to this number is stored
    :ivar failure: why nothing can be written any more; None while all is well
    :ivar news: goes up with every acknowledgement, failure and nudge
    """

    def __init__(
        self, log: Log | Callable[[], Awaitable[Log]], *, pending_max: int = 65_536, observer: LogObserver | None = None
    ) -> None:
        self.acked_n, self.put_n = -1, -1
        self.failure: LogError | None = None
        self.news = 0
        self._pending_max, self._observer = pending_max, observer
        self._connect = log if callable(log) else None
        self._queue: deque[AnyEvent] = deque()
        self._idle, self._closing = True, False
        self._watcher: Callable[[], None] = _nobody_watches
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._log: Log | None = None if callable(log) else log
        self._writer: Writer | None = None
        self._sending: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="kvbm-log", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Events that are decided and not acknowledged."""
        return self.put_n - self.acked_n

    def call(self, work: Callable[[Log], Coroutine[Any, Any, T]], timeout_s: float = CALL_TIMEOUT_S) -> T:
        """Run a coroutine over the log on this thread, and wait for what it gives.

        Raises:
            LogUnavailable: it took longer than `timeout_s`.
        """
        future = asyncio.run_coroutine_threadsafe(self._with_log(work), self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            future.cancel()
            raise LogUnavailable(f"the log did not answer within {timeout_s:g} s") from error

    def open_writer(self, instance: str, opened: Opened, after: int) -> None:
        """Claim the instance. Raises as `Log.open_writer`."""

        async def claim(log: Log) -> None:
            self._writer = await log.open_writer(instance, opened, after, self._on_acked)
            self._sending = asyncio.create_task(self._send())

        self.put_n = opened.n
        self.call(claim)

    def put(self, event: AnyEvent) -> None:
        """Queue the next event. Never blocks."""
        self._queue.append(event)
        self.put_n = event.n
        if self._idle:
            self._idle = False
            self._loop.call_soon_threadsafe(self._wake.set)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed`, on any thread, whenever there is `news`. It must not block."""
        self._watcher = changed

    def wait_for_room(self, timeout_s: float) -> None:
        """Wait while too many events are pending.

        Raises:
            LogUnavailable: the log did not catch up within `timeout_s`. Raises the failure if there is one.
        """
        if self.pending < self._pending_max:
            return
        if not self._wait(lambda: self.pending < self._pending_max // 2, timeout_s):
            raise LogUnavailable(
                f"{self.pending} events wait to be stored",
                why=f"the limit is {self._pending_max}, and the log did not catch up within {timeout_s:g} s",
                hint="look at the server's disk and network; the command can be repeated",
            )

    def wait_acked(self, n: int, timeout_s: float) -> None:
        """Wait until every event up to `n` is stored.

        Raises:
            LogUnavailable: it took longer than `timeout_s`. Raises the failure if there is one.
        """
        if not self._wait(lambda: self.acked_n >= n, timeout_s):
            raise LogUnavailable(
                f"events {self.acked_n + 1} to {n} are not acknowledged",
                why=f"the log did not answer within {timeout_s:g} s",
                hint="they may be stored or not; they are sent again as long as the owner lives",
            )

    def wait_news(self, seen: int, timeout_s: float) -> None:
        """Wait until there is other `news` than was seen, or the time is over. Raises the failure if there is one."""
        self._wait(lambda: self.news != seen, timeout_s)

    def nudge(self) -> None:
        """Wake who waits for news: something happened elsewhere. Fit for any thread."""
        self._tell()

    def close(self, timeout_s: float) -> None:
        """Settle and stop. Raises what `Writer.close` raises, after stopping."""
        try:
            self.call(self._shut, timeout_s)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout_s)

    def _wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            is_done = self._changed.wait_for(lambda: self.failure is not None or done(), timeout_s)
        if self.failure:
            raise self.failure
        return is_done

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # it ends what is left when time is over
            runner.get_loop().run_forever()

    async def _with_log(self, work: Callable[[Log], Coroutine[Any, Any, T]]) -> T:
        if self._log is None:
            if self._connect is None:
                raise LogUnavailable("the owner is closed", hint="open it again")
            self._log = await self._connect()
        return await work(self._log)

    def _on_acked(self, n: int) -> None:
        self.acked_n = n
        if self._observer:
            self._observer.acked(n)
        self._tell()

    def _fail(self, error: LogError) -> None:
        self.failure = error
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self.news += 1
            self._changed.notify_all()
        self._watcher()

    async def _send(self) -> None:
        writer, queue = self._writer, self._queue
        if writer is None:
            raise RuntimeError("the writer is opened before anything is sent")
        try:
            while True:
                while queue:
                    events = [queue.popleft() for _ in range(min(len(queue), APPEND_MAX))]
                    if self._observer:
                        self._observer.sending(events)
                    await writer.append(events)
                if self._closing:
                    return
                self._wake.clear()
                self._idle = True
                if not queue:
                    await self._settle_or_wake(writer)
        except LogError as error:
            self._fail(error)

    async def _settle_or_wake(self, writer: Writer) -> None:
        """Wait for the next event; settling meanwhile tells of a failure of those that are on their way."""
        settling = asyncio.create_task(writer.settle())
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait((settling, waking), return_when=asyncio.FIRST_COMPLETED)
            if settling.done():
                settling.result()
                await waking
        finally:
            settling.cancel()
            waking.cancel()

    async def _shut(self, log: Log) -> None:
        self._closing = True
        self._wake.set()
        try:
            if self._sending:
                await self._sending
            if self._writer and not self.failure:
                await self._writer.close()
        finally:
            if self._connect:
                await log.close()
            self._log = self._connect = None


def _nobody_watches() -> None:
    return
