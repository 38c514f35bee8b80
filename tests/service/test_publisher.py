"""The client and the service over a real server."""

import asyncio

import nats
import pytest

from kvbm_events.schema.errors import (
    BlockHeld,
    InvalidCommand,
    LogUnavailable,
    TierFull,
    UnknownRequest,
    UnknownTier,
)
from kvbm_nats.publisher import Publisher
from kvbm_nats.service.config import InstanceConfig, ServeConfig
from kvbm_nats.service.messages import MAX_KEYS, claimed_subject, subject_of
from kvbm_nats.service.micro import Endpoint
from kvbm_nats.service.server import Server
from support.chained_keys import prefix
from support.service import HeldLog

KEYS = prefix(range(8))


async def store(kv, request, keys, parent=""):
    slots = await kv.allocate(request, len(keys))
    return await kv.register(request, slots, keys, parent=parent)


async def settled(kv):
    """The status once no transfer is under way."""
    while (status := await kv.status()).transfers:
        pass
    return status


async def test_a_request_from_its_first_look_to_its_release(kv, instance):
    assert (await kv.match("r1", KEYS)).hits == []
    assert await store(kv, "r1", KEYS) == list(range(8))
    answer = await kv.match("r2", [*KEYS, *prefix([77])])
    assert [(hit.tier, hit.slots) for hit in answer.hits] == [("g1", list(range(8)))]
    await kv.release("r1")
    await kv.release("r2", reason="aborted")
    status = await kv.status(with_digest=True)
    assert (status.instance, status.requests, status.epoch) == (instance, 0, 1)
    assert status.events["Matched"] == 2
    assert len(status.digest) > 16
    assert await kv.evict(KEYS[6:], tier="g1") == 2


async def test_down_and_up_again(kv):
    await store(kv, "r", KEYS)
    await kv.release("r")
    down = await kv.offload(KEYS, wait_s=30)
    assert down.over
    assert await kv.evict(KEYS, tier="g1") == 8
    await kv.match("r", KEYS)
    up = await kv.onboard("r", KEYS, wait_s=30)
    assert up.over
    assert len(up.transfers) == 1
    assert (await kv.match("r", KEYS, durable=False)).hits[0].tier == "g1"


async def test_parts_of_a_request_can_be_given_back(kv):
    slots = await kv.allocate("r", 4, priority=70)
    await kv.release("r", tier="g1", slots=slots[:3])
    assert (await kv.status()).tiers[0].allocated == 1


@pytest.mark.parametrize(
    ("ask", "refusal"),
    [
        (lambda kv: kv.allocate("r", 65), TierFull),
        (lambda kv: kv.allocate("r", 1, tier="g4"), UnknownTier),
        (lambda kv: kv.allocate("r", 0), InvalidCommand),
        (lambda kv: kv.register("r", [0], ["short"]), UnknownRequest),
        (lambda kv: kv.register("holder", [63], KEYS[:1]), InvalidCommand),
        (lambda kv: kv.match("r", ["short"]), InvalidCommand),
        (lambda kv: kv.match("r", KEYS[:1] * (MAX_KEYS + 1)), InvalidCommand),
        (lambda kv: kv.release("r"), UnknownRequest),
        (lambda kv: kv.onboard("r", KEYS), UnknownRequest),
        (lambda kv: kv.offload(KEYS, tier="g1"), InvalidCommand),
        (lambda kv: kv.evict(KEYS, tier="g1"), BlockHeld),
        (lambda kv: kv.evict(KEYS, tier="g1", reason="capacity"), InvalidCommand),
    ],
)
async def test_a_refusal_is_the_very_error_that_the_owner_raised(kv, ask, refusal):
    await store(kv, "holder", KEYS)
    before = await settled(kv)
    with pytest.raises(refusal) as caught:
        await ask(kv)
    assert type(caught.value) is refusal
    assert caught.value.what
    assert (await kv.status()).n == before.n


async def test_a_message_beyond_the_servers_limit_is_refused_here(kv):
    with pytest.raises(InvalidCommand, match="too large"):
        await kv.match("r", KEYS * (1 << 16))


async def test_when_nobody_hosts_the_instance_the_hint_says_what_to_do(nats_url, instance):
    with pytest.raises(LogUnavailable, match=f"kvbm serve --instance {instance}"):
        await Publisher.connect(nats_url, instance)


async def test_when_no_server_is_there_it_says_so(monkeypatch):
    monkeypatch.setattr("kvbm_nats.publisher.CONNECT_S", 0.5)
    with pytest.raises(LogUnavailable, match="no NATS server answers"):
        await Publisher.connect("nats://127.0.0.1:1", "i")


async def test_an_instance_needs_a_name_that_can_be_one(nats_url):
    with pytest.raises(InvalidCommand, match="cannot name an instance"):
        await Publisher.connect(nats_url, "no.dots")


async def test_an_answer_that_got_lost_is_asked_for_again_and_nothing_is_done_twice(kv, monkeypatch):
    lost = []
    send = Endpoint._send

    async def lose_first(self, subject, reply):
        if self.plan.name == "allocate" and not lost:
            lost.append(reply)
            return
        await send(self, subject, reply)

    monkeypatch.setattr(Endpoint, "_send", lose_first)
    kv._asker.attempt_s = 0.2
    assert await kv.allocate("r", 3) == [0, 1, 2]
    assert len(lost) == 1
    assert (await kv.status()).tiers[0].allocated == 3


async def test_who_is_not_answered_gives_up_in_time(kv, monkeypatch):
    async def lose(_self, _subject, _reply):
        return

    monkeypatch.setattr(Endpoint, "_send", lose)
    kv._asker.timeout_s, kv._asker.attempt_s = 0.3, 0.1
    with pytest.raises(LogUnavailable, match=r"no answer to \d+ attempts"):
        await kv.allocate("r", 1)


async def test_a_request_for_the_length_of_a_block(kv):
    async with kv.request("r1") as request:
        await store(kv, request, KEYS)
        assert (await kv.status()).requests == 1
    assert (await kv.status()).requests == 0
    with pytest.raises(ZeroDivisionError):
        async with kv.request("r2") as request:
            await kv.match(request, KEYS)
            _ = 1 / 0
    assert (await kv.status()).requests == 0
    async with kv.request("r3"):
        pass


async def test_many_questions_at_once(kv):
    async def serve(number):
        keys = prefix([number, 1])
        async with kv.request(f"r{number}") as request:
            await store(kv, request, keys)
            return (await kv.match(request, keys)).hits[0].slots

    answers = await asyncio.gather(*(serve(number) for number in range(30)))
    assert len({tuple(slots) for slots in answers}) == 30
    assert (await kv.status()).requests == 0


async def test_what_waits_for_the_log_holds_nothing_else_up(nats_url, instance):
    log = HeldLog()
    server = Server(
        ServeConfig(url=nats_url, instances=[InstanceConfig(name=instance, namespace="m", tiers="g1=64")]), log
    )
    await server.start()
    async with await Publisher.connect(nats_url, instance) as kv:
        log.held = True
        asked = [asyncio.create_task(kv.allocate(f"r{number}", 1)) for number in range(20)]
        while (await kv.status()).requests < 20:
            pass
        assert not any(each.done() for each in asked)
        log.let_go()
        await asyncio.gather(*asked)
    await server.stop()


async def test_the_lease_is_renewed_while_the_client_is_silent(start_server, nats_url, instance):
    server = await start_server(instance, lease_s=1.0)
    async with await Publisher.connect(nats_url, instance) as kv:
        await kv.allocate("r", 1)
        renewals = endpoint(server, "renew")
        before = renewals.stats().num_requests
        while renewals.stats().num_requests < before + 4:  # each a third of the lease after the other
            await kv.status()
        assert (await kv.status()).requests == 1


def endpoint(server, verb):
    return next(each for each in server._micro._endpoints if each.plan.name == verb)


async def test_after_a_restart_the_client_claims_its_requests(start_server, nats_url, instance):
    first = await start_server(instance, lease_s=3.0)
    async with await Publisher.connect(nats_url, instance) as kv:
        await store(kv, "r", KEYS)
        await first.stop()
        second = await start_server(instance, lease_s=3.0)
        renewals = endpoint(second, "renew")
        while renewals.stats().num_requests < 2:
            await kv.status()
        leases = second._hosted[instance].host._leases
        assert leases._owners == {"r": kv.client}
        await kv.release("r")


async def test_the_service_can_be_asked_by_hand(kv, nats_url, instance):
    async with await nats.connect(nats_url) as nc:
        reply = await nc.request(subject_of(instance, "status"), b"", timeout=10)
        assert b'"requests":0' in reply.data
        refused = await nc.request(subject_of(instance, "evict"), b'{"keys":[]}', timeout=10)
        assert refused.headers == {"Nats-Service-Error-Code": "400", "Nats-Service-Error": "InvalidCommand"}
        assert b"missing required field `client`" in refused.data
        await nc.publish(claimed_subject(instance), b"nonsense")
        await nc.publish(claimed_subject(instance), b"1")
        await nc.publish(subject_of(instance, "status"), b"{}")  # who does not want an answer gets none
        await nc.flush()
    assert (await kv.status()).epoch == 1
