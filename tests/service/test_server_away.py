"""The NATS server goes away: in the middle of traffic, and while the service ends."""

import asyncio

import pytest

from kvbm_events.jetstream import Options as LogOptions
from kvbm_events.schema.errors import LogUnavailable
from kvbm_nats.options import Options
from kvbm_nats.publisher import Publisher
from kvbm_nats.service.config import InstanceConfig, ServeConfig
from kvbm_nats.service.server import Server
from support.chained_keys import prefix
from support.service import NAMESPACE, TIERS

KEYS = prefix(range(8))


@pytest.fixture
async def server(nats_server):
    options = Options(close_timeout_s=1.0)
    instance = InstanceConfig(name="i", namespace=NAMESPACE, tiers=TIERS, options=options)
    service = Server(ServeConfig(url=nats_server.url, instances=[instance], log=LogOptions(patience_s=20.0)))
    await service.start()
    return service


async def test_a_restarted_server_costs_time_and_nothing_else(server, nats_server):
    async with await Publisher.connect(nats_server.url, "i", attempt_s=0.5, timeout_s=30.0) as kv:
        asked = [asyncio.create_task(kv.allocate(f"r{number}", 1)) for number in range(32)]
        await asked[0]
        await asyncio.to_thread(nats_server.kill)
        more = [asyncio.create_task(kv.allocate(f"s{number}", 1)) for number in range(32)]
        await asyncio.to_thread(nats_server.start)
        answers = await asyncio.gather(*asked, *more)
        assert sorted(slots[0] for slots in answers) == list(range(64))
        status = await kv.status()
        assert (status.tiers[0].allocated, status.epoch) == (64, 1)
    await server.stop()


async def test_without_a_server_it_ends_in_bounded_time_and_says_what_is_lost(server, nats_server):
    async with await Publisher.connect(nats_server.url, "i") as kv:
        await kv.allocate("r", 1)
        await asyncio.to_thread(nats_server.kill)
        server.ask_to_stop()
        await server.wait()
        with pytest.raises(LogUnavailable):
            await asyncio.wait_for(server.stop(), 30)
