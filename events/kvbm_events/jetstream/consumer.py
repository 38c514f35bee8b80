"""One ephemeral pull consumer: its pulls, and whether what it delivers is whole.

Rules
1. Two pulls are open, so that the server need not wait for us. Each is bounded in messages and bytes, and the next one
   is made only when its messages have been taken: a slow reader holds at most two pulls in memory.
2. Nothing is acknowledged. Whoever needs to go on after a break makes a new consumer after the last sequence taken.
3. Consumer sequences count deliveries: one that is not the next, a status that ends the consumer, or silence longer
   than `SILENCE_S` breaks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from kvbm_events.jetstream.api import PREFIX, Answer, Api
from kvbm_events.jetstream.options import STREAM
from kvbm_events.jetstream.wire import STATUS
from kvbm_events.schema.errors import LogUnavailable

PULL_MESSAGES = 256
PULL_BYTES = 8 << 20
PULLS = 2
PULL_EXPIRES_S = 30.0
HEARTBEAT_S = 2.0
SILENCE_S = 5.0
INACTIVE_S = 300.0
_S = 1_000_000_000
_PENDING = "Nats-Pending-Messages"
_HEARTBEAT = "100"
_V1_TOKENS = 9
_V2_OFFSET = 2
_PULL = msgspec.json.encode(
    {
        "batch": PULL_MESSAGES,
        "max_bytes": PULL_BYTES,
        "expires": int(PULL_EXPIRES_S * _S),
        "idle_heartbeat": int(HEARTBEAT_S * _S),
    }
)


class Delivery(NamedTuple):
    """A message, its stream sequence, and how many more the consumer had for us then."""

    msg: Msg
    seq: int
    pending: int


class _Created(Answer, frozen=True, kw_only=True):
    name: str = ""
    num_pending: int = 0


class Consumer:
    """Calls `deliver` for each message in order, from the first after `after` up to `until`.

    :ivar last_seq: the last sequence delivered
    :ivar is_done: nothing up to `until` is left
    :ivar broken: why no more will come; empty while all is well
    """

    def __init__(
        self,
        api: Api,
        deliver: Callable[[Delivery], None],
        *,
        after: int,
        until: int | None = None,
        subject: str = "",
        headers_only: bool = False,
        stream: str = STREAM,
    ) -> None:
        self.last_seq, self.is_done, self.broken = after, False, ""
        self._api, self._deliver, self._until = api, deliver, until
        self._stream = stream
        self._name = f"kvbm-{secrets.token_hex(8)}"
        self._next = f"{PREFIX}.CONSUMER.MSG.NEXT.{stream}.{self._name}"
        self._inbox = api.connection.nc.new_inbox()
        self._config = {
            "name": self._name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(INACTIVE_S * _S),
            "mem_storage": True,
            "num_replicas": 1,
        }
        if subject:
            self._config["filter_subject"] = subject
        if headers_only:
            self._config["headers_only"] = True
        self._owed = self._delivered = 0
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._unwatch: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Create the consumer; one that cannot be started is stopped. Raises LogUnavailable."""
        try:
            await self._create()
        except BaseException:
            await self.stop()
            raise

    async def pull(self) -> None:
        """Make the next pull if there is room for one: call it when what was delivered has been taken."""
        while not self.broken and not self.is_done and self._owed <= (PULLS - 1) * PULL_MESSAGES:
            self._owed += PULL_MESSAGES
            try:
                await self._api.connection.nc.publish(self._next, _PULL, self._inbox)
            except (NatsError, OSError) as error:
                self._break(str(error))

    async def wait(self) -> None:
        """Wait until something was delivered, or the consumer is done or broken."""
        if self.broken or self.is_done:
            return
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._arrived.wait()
        except TimeoutError:
            self._break(f"the consumer was silent for {SILENCE_S:g} s")
        self._arrived.clear()

    async def stop(self) -> None:
        """Drop the consumer, here and on the server."""
        self._unwatch()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(NatsError, OSError):
                await subscription.unsubscribe()
        if self._api.connection.connected:
            with contextlib.suppress(LogUnavailable):
                await self._api.call(f"CONSUMER.DELETE.{self._stream}.{self._name}", None, Answer)

    async def _create(self) -> None:
        connection = self._api.connection
        self._unwatch = connection.watch(lambda: self._break("the connection changed"))
        body = {"stream_name": self._stream, "config": self._config, "action": "create"}
        created = await self._api.call(f"CONSUMER.CREATE.{self._stream}.{self._name}", body, _Created)
        if self._until is not None and created.num_pending == 0:
            self.is_done = True
            return
        try:
            self._subscription = await connection.nc.subscribe(
                self._inbox, cb=self._on_message, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except (NatsError, OSError) as error:
            raise connection.unavailable(str(error)) from error

    async def _on_message(self, msg: Msg) -> None:
        self._arrived.set()
        if not msg.reply:
            self._on_status(msg.headers or {})
            return
        if self.broken or self.is_done:
            return
        tokens = msg.reply.split(".")
        at = 5 if len(tokens) == _V1_TOKENS else 5 + _V2_OFFSET  # $JS.ACK, domain and account, stream, consumer, tries
        seq, delivered, pending = int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 3])
        if delivered != self._delivered + 1:
            self._break(f"delivery {self._delivered + 1} was lost")
            return
        self._delivered = delivered
        self._owed -= 1
        if self._until is None or seq <= self._until:
            self.last_seq = seq
            self._deliver(Delivery(msg, seq, pending))
        if self._until is not None:
            self.is_done = seq >= self._until or pending == 0

    def _on_status(self, status: dict[str, str]) -> None:
        """100 is a heartbeat; what tells how much of a pull is left ended that pull; all else ends the consumer."""
        if _PENDING in status:
            self._owed = max(0, self._owed - int(status[_PENDING]))
        elif status.get(STATUS) != _HEARTBEAT:
            self._break(" ".join(status.values()))

    def _break(self, why: str) -> None:
        self.broken = self.broken or why
        self._arrived.set()
