"""A NATS micro service (ADR-32): found by `nats micro ls`, its figures in `nats micro stats`.

nats-py has one too, whose wire types are used here. But it handles one question an endpoint at a time, so that each
would wait for the disk alone, and it cannot take endpoints away from a running service.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER
from nats.micro.service import (
    DEFAULT_QUEUE_GROUP,
    EndpointInfo,
    EndpointStats,
    ServiceInfo,
    ServicePing,
    ServiceStats,
    ServiceVerb,
    control_subject,
)

from kvbm_nats.service.answers import Reply

IN_FLIGHT_MAX = 1024
"""Questions that one endpoint is answering; the next ones wait in its subscription. Each has its own, so that a lease
can be renewed while all look-ups wait for transfers."""
PENDING_MAX = 8192
"""Questions that wait in one subscription; the next ones are dropped, and their clients ask again."""
PENDING_BYTES_MAX = 64 << 20
DRAIN_S = 10.0
"""How long the answers under way may take when endpoints are stopped."""

Handler = Callable[[bytes], Awaitable[Reply | None]]
"""From a question's bytes to a reply; None to say nothing."""


class EndpointPlan(NamedTuple):
    """One endpoint that is to be."""

    name: str
    subject: str
    handler: Handler
    metadata: dict[str, str]


class Endpoint:
    """One subject and who answers there; many questions at a time."""

    def __init__(self, client: Client, plan: EndpointPlan) -> None:
        self.plan = plan
        self._client = client
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions = self._errors = self._busy_ns = 0
        self._last_error = ""

    async def start(self) -> None:
        """Be asked from now on."""
        self._subscription = await self._client.subscribe(
            self.plan.subject,
            queue=DEFAULT_QUEUE_GROUP,
            cb=self._take,
            pending_msgs_limit=PENDING_MAX,
            pending_bytes_limit=PENDING_BYTES_MAX,
        )

    async def stop(self) -> None:
        """Answer what was asked until now, and no more."""
        subscription, self._subscription = self._subscription, None
        with suppress(NatsError, TimeoutError):  # the server may be away: then nobody asks either
            async with asyncio.timeout(DRAIN_S):
                if subscription:
                    await subscription.drain()  # type: ignore[no-untyped-call] # nats-py left it bare
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)

    async def abandon(self) -> None:
        """Take no more questions from now on."""
        subscription, self._subscription = self._subscription, None
        if subscription:
            with suppress(NatsError):
                await subscription.unsubscribe()

    def info(self) -> EndpointInfo:
        """For `nats micro info`."""
        return EndpointInfo(self.plan.name, self.plan.subject, DEFAULT_QUEUE_GROUP, self.plan.metadata)

    def stats(self) -> EndpointStats:
        """For `nats micro stats`. The times are from question to answer, many of them at once."""
        return EndpointStats(
            name=self.plan.name,
            subject=self.plan.subject,
            queue_group=DEFAULT_QUEUE_GROUP,
            num_requests=self._questions,
            num_errors=self._errors,
            processing_time=self._busy_ns,
            average_processing_time=self._busy_ns // max(1, self._questions),
            last_error=self._last_error,
            data=self.plan.metadata,
        )

    async def _take(self, message: Msg) -> None:
        await self._room.acquire()
        task = asyncio.create_task(self._serve(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: Msg) -> None:
        started_ns = time.perf_counter_ns()
        try:
            reply = await self.plan.handler(message.data)
            if reply and message.reply:
                await self._send(message.reply, reply)
        finally:
            self._room.release()
            self._questions += 1
            self._busy_ns += time.perf_counter_ns() - started_ns

    async def _send(self, subject: str, reply: Reply) -> None:
        headers = None
        if reply.code:
            self._errors += 1
            self._last_error = reply.data.decode()
            headers = {ERROR_CODE_HEADER: reply.code, ERROR_HEADER: json.loads(reply.data)["error"]}
        try:
            await self._client.publish(subject, reply.data, headers=headers)
        except NatsError as error:  # the connection went: the client will ask again
            self._last_error = repr(error)


class MicroService:
    """See the module.

    :ivar id: which service this is, of those with the same name
    """

    def __init__(self, client: Client, name: str, version: str, description: str) -> None:
        self.id = client.new_inbox().rpartition(".")[2]
        self._client, self._name, self._version, self._description = client, name, version, description
        self._started = datetime.now(UTC)
        self._endpoints: list[Endpoint] = []
        self._controls: list[Subscription] = []

    async def start(self) -> None:
        """Be found from now on."""
        replies: dict[ServiceVerb, Callable[[], object]] = {
            ServiceVerb.PING: lambda: ServicePing(id=self.id, name=self._name, version=self._version).to_dict(),
            ServiceVerb.INFO: lambda: self._info().to_dict(),
            ServiceVerb.STATS: lambda: self._stats().to_dict(),
        }
        for verb, make in replies.items():

            async def reply(message: Msg, make: Callable[[], object] = make) -> None:
                await message.respond(json.dumps(make()).encode())

            for name, service_id in ((None, None), (self._name, None), (self._name, self.id)):
                subject = control_subject(verb, name, service_id)
                self._controls.append(await self._client.subscribe(subject, cb=reply))

    async def add(self, plans: list[EndpointPlan]) -> list[Endpoint]:
        """Endpoints that answer from now on."""
        added = [Endpoint(self._client, plan) for plan in plans]
        for endpoint in added:
            await endpoint.start()
        await self._client.flush()
        self._endpoints += added
        return added

    async def remove(self, endpoints: list[Endpoint]) -> None:
        """Let these take no more questions, not even those that wait."""
        self._endpoints = [endpoint for endpoint in self._endpoints if endpoint not in endpoints]
        for endpoint in endpoints:
            await endpoint.abandon()

    async def stop(self) -> None:
        """Answer what was asked, then be found no more."""
        await asyncio.gather(*(endpoint.stop() for endpoint in self._endpoints))
        for control in self._controls:
            with suppress(NatsError):
                await control.unsubscribe()
        self._endpoints, self._controls = [], []

    def _info(self) -> ServiceInfo:
        return ServiceInfo(
            id=self.id,
            name=self._name,
            version=self._version,
            description=self._description,
            endpoints=[endpoint.info() for endpoint in self._endpoints],
        )

    def _stats(self) -> ServiceStats:
        return ServiceStats(
            id=self.id,
            name=self._name,
            version=self._version,
            started=self._started,
            endpoints=[endpoint.stats() for endpoint in self._endpoints],
        )
