"""The writer: events go out through the outbox, and come back as stored, refused, or in doubt.

Rules
1. One task sends, so events leave in their order; one inbox takes all acknowledgements.
2. A doubt (silence, a lost connection, a refusal) stops sending. The stream is asked what it has (`resend`), and what
   it has not is sent again before anything new. No progress for `patience_s` ends in `LogUnavailable`.
3. A full log is no doubt: the writer stops at once. An event behind the refused one may have been stored; readers hold
   it back for ever, because the one before it is missing.
4. A failure is final: nothing more is sent, and every call raises it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from kvbm_events.codec import encode
from kvbm_events.jetstream.api import (
    ATOMIC_PUBLISH_DISABLED,
    ATOMIC_PUBLISH_TOO_LARGE,
    WRONG_LAST_SEQUENCE_IN_PROCESS,
    Api,
    Refusal,
    log_full,
)
from kvbm_events.jetstream.connection import RETRY_PAUSE_S
from kvbm_events.jetstream.outbox import Outbox
from kvbm_events.jetstream.presence import Presence
from kvbm_events.jetstream.resend import Evidence, gather
from kvbm_events.jetstream.wire import Fence, Outgoing, read_ack, send
from kvbm_events.log import check_order
from kvbm_events.schema import AnyEvent, Opened
from kvbm_events.schema.errors import InvalidCommand, LogError, LogUnavailable
from kvbm_events.subjects import message_id, subject_of

HEADER_BYTES = 1024
"""More than the headers of any event take."""

_logger = logging.getLogger(__name__)


class JetStreamWriter:
    """See `Writer`. Made by `JetStreamLog.open_writer`, once the claim is won."""

    def __init__(
        self,
        api: Api,
        instance: str,
        opened: Opened,
        opened_seq: int,
        on_acked: Callable[[int], None],
        outbox: Outbox,
    ) -> None:
        self._api, self._connection, self._options = api, api.connection, api.connection.options
        self._instance, self._epoch, self._opened_seq = instance, opened.epoch, opened_seq
        self._on_acked = on_acked
        self._next_n = opened.n + 1
        self._outbox = outbox
        self._fence = Fence(subject_of(instance, opened), opened_seq)
        self._floor = opened_seq
        self._attempt = 0
        self._again_n = opened.n
        self._failure: LogError | None = None
        self._presence = Presence(self._connection, instance, opened.epoch, lambda: self._failure is None)
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._loop.time()
        self._changed, self._wake, self._doubt = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._doubted = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._subscription: Subscription | None = None
        self._unwatch: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Listen for acknowledgements and begin to send. Raises LogUnavailable."""
        self._inbox = self._connection.nc.new_inbox()
        try:
            self._subscription = await self._connection.nc.subscribe(f"{self._inbox}.*.*", cb=self._on_ack)
        except (NatsError, OSError) as error:
            raise self._connection.unavailable(str(error)) from error
        await self._presence.start()
        self._unwatch = self._connection.watch(self._on_connection)
        self._tasks = [self._loop.create_task(work()) for work in (self._send, self._resolve_doubts)]
        for task in self._tasks:
            task.add_done_callback(self._on_task_done)
        self._on_acked(self.acked_n)

    @property
    def acked_n(self) -> int:
        """See `Writer.acked_n`."""
        return self._outbox.acked_n

    async def append(self, events: Sequence[AnyEvent]) -> None:
        """See `Writer.append`."""
        self._check()
        check_order(events, self._epoch, self._next_n)
        for event in events:
            while self._outbox.is_full:
                await self._wait_change()
            self._put(event)

    async def settle(self) -> None:
        """See `Writer.settle`."""
        self._check()
        while not self._outbox.is_empty:
            await self._wait_change()

    async def close(self) -> None:
        """See `Writer.close`."""
        try:
            if self._failure is None:
                await self.settle()
        finally:
            await self.stop(LogUnavailable("the writer is closed", hint="open the next epoch"))

    async def stop(self, failure: LogError) -> None:
        """Stop without settling; every later call raises `failure`, or what had failed before."""
        self._fail(failure)
        self._unwatch()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._presence.stop()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(NatsError, OSError):
                await subscription.unsubscribe()

    def _put(self, event: AnyEvent) -> None:
        data = encode(event)
        limit = self._connection.nc.max_payload - HEADER_BYTES
        if len(data) > limit:
            raise InvalidCommand(
                f"{type(event).__name__} {event.epoch}.{event.n} has {len(data)} bytes",
                why=f"the server takes {limit}",
                hint="raise max_payload in the server's configuration",
            )
        if self._outbox.is_empty:
            self._moved_at = self._loop.time()
        name = message_id(self._instance, event.epoch, event.n)
        self._outbox.put(Outgoing(event.n, subject_of(self._instance, event), name, data))
        self._next_n = event.n + 1
        self._wake.set()

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    async def _wait_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
        self._check()

    async def _send(self) -> None:
        """Send what the outbox gives, until the writer fails."""
        nc = self._connection.nc
        while self._failure is None:
            await self._wake.wait()
            self._wake.clear()
            while not self._doubt.is_set() and not self._outbox.is_empty:
                if not self._connection.connected:
                    self._raise_doubt("the connection is lost")
                    break
                events = self._outbox.take()
                if not events:
                    break
                self._changed.set()
                try:
                    await send(nc, events, self._fence, self._inbox, self._attempt)
                except (NatsError, OSError) as error:
                    self._raise_doubt(str(error))

    async def _on_ack(self, msg: Msg) -> None:
        ack = read_ack(msg)
        if ack.refusal is not None:
            if ack.attempt == self._attempt:
                self._on_refused(ack.refusal)
            return
        self._wake.set()
        if self._outbox.ack(ack.first, ack.last):
            if self.acked_n > self._again_n:
                self._floor = max(self._floor, ack.seq)
            self._on_moved()

    def _on_moved(self) -> None:
        self._moved_at = self._loop.time()
        self._changed.set()
        self._on_acked(self.acked_n)

    def _on_refused(self, refusal: Refusal) -> None:
        if refusal.is_full:
            self._fail(log_full(refusal))
            return
        if refusal.err_code in {ATOMIC_PUBLISH_DISABLED, ATOMIC_PUBLISH_TOO_LARGE}:
            self._outbox.may_group = False
        if refusal.err_code == WRONG_LAST_SEQUENCE_IN_PROCESS:
            self._outbox.is_serial = True
        self._raise_doubt(f"{refusal.description} ({refusal.err_code or refusal.code})")

    def _on_connection(self) -> None:
        if self._connection.closed:
            self._fail(self._connection.unavailable(""))
        else:
            self._raise_doubt("the connection changed")

    def _raise_doubt(self, why: str) -> None:
        self._doubted = why
        self._doubt.set()

    async def _resolve_doubts(self) -> None:
        """Wait for doubts, and for silence, and resolve them, until the writer fails."""
        timeout_s = self._options.timeout_s
        while self._failure is None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._doubt.wait()
            except TimeoutError:
                if self._outbox.is_empty or self._loop.time() < self._moved_at + timeout_s:
                    continue
                self._raise_doubt(f"no acknowledgement within {timeout_s:g} s")
            try:
                await self._resolve()
            except LogError as error:
                self._fail(error)

    async def _resolve(self) -> None:
        patience_s = self._moved_at + self._options.patience_s - self._loop.time()
        if self._outbox.is_empty:
            self._doubt.clear()
            self._wake.set()
            return
        if patience_s <= 0:
            raise self._connection.unavailable(f"{self._doubted}; event {self.acked_n + 1} is not stored")
        _logger.info("%s: %s; asking the stream after event %d", self._instance, self._doubted, self.acked_n)
        self._attempt += 1  # refusals that come from before say nothing any more
        before = self.acked_n
        evidence = await self._connection.persist(self._gather, patience_s)
        for n in evidence.stored:
            self._outbox.ack(n, n)
        self._fence, self._floor = evidence.fence, evidence.last_seq
        self._again_n = self._outbox.send_again()
        if self.acked_n > before:
            self._on_moved()
        else:
            await asyncio.sleep(RETRY_PAUSE_S)
        self._doubt.clear()
        self._wake.set()

    async def _gather(self) -> Evidence:
        return await gather(self._api, self._instance, self._epoch, self._opened_seq, self._fence, self._floor)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _logger.error("%s: the writer stops", self._instance, exc_info=error)
            self._fail(self._connection.unavailable(f"the writer stopped: {error!r}"))

    def _fail(self, error: LogError) -> None:
        if self._failure is None:
            self._failure = error
            self._changed.set()
            self._wake.set()
            self._doubt.set()
