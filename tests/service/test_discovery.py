"""The service as others find it: `nats micro ls`, `info` and `stats` ask what is asked here."""

import json
from typing import get_args

import nats
import pytest
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from kvbm_events.schema.errors import UnknownRequest
from kvbm_nats.publisher import Publisher
from kvbm_nats.service.messages import Verb

VERBS = get_args(Verb)


@pytest.fixture
async def nc(nats_url):
    async with await nats.connect(nats_url) as client:
        yield client


async def ask(nc, subject, kind):
    return kind.from_dict(json.loads((await nc.request(subject, timeout=10)).data))


async def test_it_is_found_by_name_and_by_id(start_server, nc, instance):
    server = await start_server(instance)
    ping = await ask(nc, f"$SRV.PING.kvbm.{server._micro.id}", ServicePing)
    assert (ping.name, ping.id, ping.type) == ("kvbm", server._micro.id, "io.nats.micro.v1.ping_response")
    for subject in ("$SRV.PING", "$SRV.PING.kvbm"):
        inbox = nc.new_inbox()
        replies = await nc.subscribe(inbox)
        await nc.publish(subject, reply=inbox)
        while True:  # other services may be there
            found = json.loads((await replies.next_msg(timeout=10)).data)
            if found["id"] == server._micro.id:
                break


async def test_it_tells_its_endpoints(start_server, nc, instance):
    server = await start_server(instance, f"{instance}-b")
    info = await ask(nc, f"$SRV.INFO.kvbm.{server._micro.id}", ServiceInfo)
    assert len(info.endpoints) == 2 * len(VERBS)
    subjects = {endpoint.subject: endpoint for endpoint in info.endpoints}
    for name in (instance, f"{instance}-b"):
        for verb in VERBS:
            endpoint = subjects[f"kvbm.svc.{name}.{verb}"]
            assert (endpoint.name, endpoint.metadata) == (verb, {"instance": name})


async def test_it_counts_questions_and_errors(start_server, nats_url, nc, instance):
    server = await start_server(instance)
    async with await Publisher.connect(nats_url, instance) as kv:
        await kv.allocate("r", 1)
        await kv.allocate("r", 1)
        await kv.release("r")
        with pytest.raises(UnknownRequest):
            await kv.release("r")
        stats = await ask(nc, f"$SRV.STATS.kvbm.{server._micro.id}", ServiceStats)
    figures = {endpoint.name: endpoint for endpoint in stats.endpoints}
    assert (figures["allocate"].num_requests, figures["allocate"].num_errors) == (2, 0)
    assert (figures["release"].num_requests, figures["release"].num_errors) == (2, 1)
    assert "UnknownRequest" in figures["release"].last_error
    assert figures["allocate"].average_processing_time > 0


async def test_it_is_not_found_any_more_once_stopped(start_server, nc, instance):
    server = await start_server(instance)
    await server.stop()
    with pytest.raises(nats.errors.NoRespondersError):
        await nc.request(f"$SRV.PING.kvbm.{server._micro.id}", timeout=10)
    with pytest.raises(nats.errors.NoRespondersError):
        await nc.request(f"kvbm.svc.{instance}.status", timeout=10)
