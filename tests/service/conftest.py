"""Instances without NATS, and services with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kvbm_events.memory import MemoryLog
from kvbm_nats.publisher import Publisher
from kvbm_nats.service.config import InstanceConfig, ServeConfig
from kvbm_nats.service.server import Server
from support.service import NAMESPACE, TIERS, Hosted

OpenHosted = Callable[..., Awaitable[Hosted]]
StartServer = Callable[..., Awaitable[Server]]


@pytest.fixture
async def open_hosted() -> AsyncIterator[OpenHosted]:
    """Opens hosts without NATS, one after the other; closes those that are still open."""
    opened: list[Hosted] = []

    async def open_one(log: MemoryLog | None = None, **changes: object) -> Hosted:
        opened.append(await Hosted(log or MemoryLog(), **changes).open())
        return opened[-1]

    yield open_one
    for hosted in opened:
        await hosted.close()


@pytest.fixture
async def start_server(nats_url: str) -> AsyncIterator[StartServer]:
    """Starts services for the named instances; stops those that were not stopped."""
    started: list[Server] = []

    async def start_one(*instances: str, tiers: str = TIERS, **changes: float) -> Server:
        configs = [InstanceConfig(name=name, namespace=NAMESPACE, tiers=tiers) for name in instances]
        server = Server(ServeConfig(url=nats_url, instances=configs, **changes))
        await server.start()
        started.append(server)
        return server

    yield start_one
    for server in started:
        await server.stop()


@pytest.fixture
async def kv(start_server: StartServer, nats_url: str, instance: str) -> AsyncIterator[Publisher]:
    """A client of a service with one instance."""
    await start_server(instance)
    async with await Publisher.connect(nats_url, instance) as publisher:
        yield publisher
