"""What goes wrong between an owner and its log: killed servers, lost answers, rivals. Each fault is a real one."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator

import pytest

from kvbm_events.codec import decode
from kvbm_events.jetstream import JetStreamLog, Options, publisher
from kvbm_events.jetstream.api import STREAM_NOT_FOUND, ApiRefused, StreamInfo
from kvbm_events.jetstream.consumer import PULL_MESSAGES, PULLS
from kvbm_events.jetstream.options import STREAM
from kvbm_events.schema.errors import Fenced, InvalidCommand, LogFull, LogUnavailable
from kvbm_events.subjects import message_id
from kvbm_nats.nats_server import NatsServer
from support.nats import frozen, lose_acks
from support.samples import (
    Acks,
    append_and_settle,
    in_order,
    open_and_write,
    opened,
    read_all,
    registered,
    released,
    small_events,
)

QUICK = Options(max_bytes=256 << 20, timeout_s=0.3, patience_s=20.0)
ROUNDS = 3


@pytest.fixture
async def log(nats_server: NatsServer) -> AsyncIterator[JetStreamLog]:
    log = await JetStreamLog.connect(nats_server.url, QUICK)
    yield log
    await log.close()


async def ids_of(log: JetStreamLog, instance: str) -> list[str]:
    """The message ids of the instance's entries, in the order of the log."""
    return [
        position.message_id for entry in await read_all(log, instance) if (position := await log.position(entry.seq))
    ]


async def check_whole(log: JetStreamLog, instance: str, epoch: int, last_n: int) -> None:
    """Every event of the only epoch is stored once, and a fold gets all of them in order."""
    entries = await read_all(log, instance)
    assert sorted(decode(entry.data).n for entry in entries) == list(range(last_n + 1))
    assert [event.n for event in in_order(entries)] == list(range(last_n + 1))
    assert {decode(entry.data).epoch for entry in entries} == {epoch}


async def configure(log: JetStreamLog, **settings) -> None:
    """Change the stream as an operator would."""
    info = await log._api.stream_info(STREAM)
    await log._api.call(f"STREAM.UPDATE.{STREAM}", info.config | settings, StreamInfo)


async def consumers(log: JetStreamLog) -> list[str]:
    listed = await log._connection.nc.request(f"$JS.API.CONSUMER.NAMES.{STREAM}", b"")
    return json.loads(listed.data)["consumers"] or []


@pytest.mark.parametrize("largest", [1, 60], ids=["one by one", "in batches"])
async def test_a_server_killed_in_mid_publish_loses_and_doubles_nothing(
    log: JetStreamLog, nats_server: NatsServer, instance: str, largest: int
):
    chance, acks = random.Random(largest), Acks()
    writer = await log.open_writer(instance, opened(1), 0, acks)
    stop = asyncio.Event()
    n = 0

    async def write() -> None:
        nonlocal n
        while not stop.is_set():
            count = chance.randint(1, largest)
            await writer.append([registered(1, n + 1 + i, chance.choice((1, 8, 64))) for i in range(count)])
            n += count
            await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    for _ in range(ROUNDS):
        await acks.reach(writer.acked_n + 200)
        nats_server.kill()
        nats_server.start()
    await acks.reach(writer.acked_n + 200)
    stop.set()
    await writing
    await writer.close()
    assert writer.acked_n == n
    await check_whole(log, instance, 1, n)


async def test_a_lost_server_is_told_and_one_that_never_was_is_the_error_alone(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
):
    nobody = "nats://127.0.0.1:1"
    with pytest.raises(LogUnavailable, match=nobody):
        await JetStreamLog.connect(nobody, Options(patience_s=0.2))
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    log = await JetStreamLog.connect(nats_server.url)
    told = asyncio.Event()
    caplog.handler.addFilter(lambda record: told.set() or record.levelno >= logging.WARNING)
    nats_server.kill()
    await asyncio.wait_for(told.wait(), 20)
    await log.close()
    assert caplog.records[0].getMessage().startswith("NATS: ")


async def test_a_reader_goes_on_through_a_killed_server(log: JetStreamLog, nats_server: NatsServer, instance: str):
    writer = await open_and_write(log, instance, 1, 400)
    reader = log.read(instance)
    found = [decode(entry.data).n for entry in await anext(reader)]
    nats_server.kill()
    nats_server.start()
    await writer.append(small_events(1, 401, 400))
    while len(found) < 801:
        found += [decode(entry.data).n for entry in await asyncio.wait_for(anext(reader), 20)]
    await reader.aclose()
    assert found == list(range(801))


async def test_a_reader_goes_on_when_its_consumer_is_deleted(log: JetStreamLog, instance: str):
    writer = await open_and_write(log, instance, 1, 10)
    reader = log.read(instance)
    found = await anext(reader)
    (name,) = await consumers(log)
    await log._connection.nc.request(f"$JS.API.CONSUMER.DELETE.{STREAM}.{name}", b"")
    await writer.append(small_events(1, 11, 10))
    while len(found) < 21:
        found += await asyncio.wait_for(anext(reader), 20)
    await reader.aclose()
    assert [decode(entry.data).n for entry in found] == list(range(21))


async def test_lost_acknowledgements_are_found_in_the_stream(
    log: JetStreamLog, instance: str, monkeypatch: pytest.MonkeyPatch
):
    """All of the first attempt are lost, so nothing but the stream can tell. No duplicate window helps."""
    await configure(log, duplicate_window=100_000_000)
    lose_acks(monkeypatch, lambda msg: msg.subject.split(".")[-2] == "0")
    writer = await log.open_writer(instance, opened(1), 0)
    await writer.append(small_events(1, 1, 500))
    for n in range(501, 521):
        await writer.append([released(1, n)])
    await writer.settle()
    assert len(await ids_of(log, instance)) == len(set(await ids_of(log, instance))) == 521
    await check_whole(log, instance, 1, 520)


async def test_some_lost_acknowledgements(log: JetStreamLog, instance: str, monkeypatch: pytest.MonkeyPatch):
    chance = random.Random(7)
    lose_acks(monkeypatch, lambda _msg: chance.random() < 0.1)
    writer = await log.open_writer(instance, opened(1), 0)
    for n in range(1, 200):
        await writer.append([released(1, n)])
        if n % 40 == 0:
            await writer.settle()
    await writer.close()
    await check_whole(log, instance, 1, 199)


async def test_events_that_never_arrived_are_sent_again(
    log: JetStreamLog, instance: str, monkeypatch: pytest.MonkeyPatch
):
    """Every third publish vanishes on its way, of single events and of batches."""
    sent = 0
    send = publisher.send

    async def lossy(*args) -> None:
        nonlocal sent
        sent += 1
        if sent % 3:
            await send(*args)

    monkeypatch.setattr(publisher, "send", lossy)
    writer = await log.open_writer(instance, opened(1), 0)
    n = 1
    for count in (1, 1, 20, 1, 3, 100, 1, 1):
        await writer.append(small_events(1, n, count))
        n += count
    await writer.settle()
    await check_whole(log, instance, 1, n - 1)


async def test_a_cut_connection_is_taken_up_again(log: JetStreamLog, instance: str):
    acks = Acks()
    writer = await log.open_writer(instance, opened(1), 0, acks)
    n = 1
    for count in (300, 2, 300):
        await writer.append(small_events(1, n, count))
        n += count
        await log._connection.nc.force_reconnect()
    await writer.close()
    await check_whole(log, instance, 1, n - 1)


async def test_of_two_owners_one_goes_on(log: JetStreamLog, nats_server: NatsServer, instance: str):
    """The old owner writes in bursts while the new one claims in the first pause."""
    acks = Acks()
    old = await log.open_writer(instance, opened(1), 0, acks)

    async def write_until_fenced() -> None:
        n = 1
        while True:
            for count in (1, 1, 30, 1, 2, 17):
                await old.append(small_events(1, n, count))
                n += count
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write_until_fenced())
    await acks.reach(100)
    rival = await JetStreamLog.connect(nats_server.url, QUICK)
    new = await _claim_in_any_case(rival, instance)
    with pytest.raises(Fenced):
        await asyncio.wait_for(writing, 5)
    await new.append(small_events(2, 1, 50))
    await new.close()
    events = [decode(entry.data) for entry in await read_all(rival, instance)]
    await rival.close()

    border = events.index(opened(2))
    assert [(event.epoch, event.n) for event in events[border:]] == [(2, n) for n in range(51)]
    assert [event.n for event in events[:border]] == list(range(border)), "nothing acknowledged is behind the border"
    assert old.acked_n < border


async def _claim_in_any_case(log: JetStreamLog, instance: str):
    async with asyncio.timeout(20):
        while True:
            try:
                return await log.open_writer(instance, opened(2), await log.last_seq(instance))
            except Fenced:
                continue


async def test_an_answer_to_a_claim_that_is_lost_is_looked_up(
    log: JetStreamLog, instance: str, monkeypatch: pytest.MonkeyPatch
):
    request, lost = log._api.request, []

    async def lossy(subject: str, data: bytes, headers: dict[str, str] | None = None) -> bytes:
        reply = await request(subject, data, headers)
        if subject.endswith(".opened") and not lost:
            lost.append(reply)
            raise LogUnavailable("lost on its way")
        return reply

    monkeypatch.setattr(log._api, "request", lossy)
    writer = await open_and_write(log, instance, 1, 3)
    assert lost
    assert writer.acked_n == 3
    assert await ids_of(log, instance) == [message_id(instance, 1, n) for n in range(4)]


async def test_what_was_stored_behind_a_refused_event_is_never_applied(nats_server: NatsServer, instance: str):
    """The large event does not fit any more, the small ones behind it do."""
    log = await JetStreamLog.connect(nats_server.url, Options(max_bytes=64 << 10))
    writer = await log.open_writer(instance, opened(1), 0)
    events = [registered(1, 1, 512), registered(1, 2, 512), registered(1, 3, 512), registered(1, 4, 512)]
    with pytest.raises(LogFull):
        await append_and_settle(writer, [*events, *small_events(1, 5, 8)])
    assert writer.acked_n < 4
    stored = [decode(entry.data).n for entry in await read_all(log, instance)]
    assert max(stored) > writer.acked_n + 1
    with pytest.raises(Fenced):
        await log.open_writer(instance, opened(2), 1)
    await open_and_write(log, instance, 2, 3)
    applied = [(event.epoch, event.n) for event in in_order(await read_all(log, instance))]
    assert applied == [(1, n) for n in range(writer.acked_n + 1)] + [(2, n) for n in range(4)]
    await log.close()


async def test_a_server_that_does_not_answer_is_unavailable_within_the_patience(nats_server: NatsServer, instance: str):
    log = await JetStreamLog.connect(nats_server.url, Options(timeout_s=0.2, patience_s=1.0))
    writer = await open_and_write(log, instance, 1, 3)
    loop = asyncio.get_running_loop()
    with frozen(nats_server):
        begun = loop.time()
        with pytest.raises(LogUnavailable, match="does not answer"):
            await append_and_settle(writer, [released(1, 4)])
        with pytest.raises(LogUnavailable):
            await log.last_seq()
        with pytest.raises(LogUnavailable):
            await log.open_writer(f"{instance}-b", opened(1), 0)
        assert loop.time() - begun < 20
    await log.close()


async def test_a_server_that_is_gone_is_unavailable_within_the_patience(nats_server: NatsServer, instance: str):
    log = await JetStreamLog.connect(nats_server.url, Options(timeout_s=0.2, patience_s=1.0))
    writer = await open_and_write(log, instance, 1, 3)
    nats_server.kill()
    with pytest.raises(LogUnavailable):
        await append_and_settle(writer, small_events(1, 4, 5000))
    with pytest.raises(LogUnavailable):
        await read_all(log, instance, until=5)
    await log.close()


async def test_batches_that_an_operator_forbids_go_one_by_one(log: JetStreamLog, instance: str):
    await configure(log, allow_atomic=False)
    writer = await open_and_write(log, instance, 1, 600)
    assert not writer._outbox.may_group
    await check_whole(log, instance, 1, 600)


async def test_a_slow_reader_holds_no_more_than_its_pulls(log: JetStreamLog, instance: str):
    await open_and_write(log, instance, 1, 3000)
    reader = log.read(instance)
    taken = len(await anext(reader))
    await log._connection.nc.flush()
    (name,) = await consumers(log)
    info = await log._connection.nc.request(f"$JS.API.CONSUMER.INFO.{STREAM}.{name}", b"")
    assert json.loads(info.data)["delivered"]["consumer_seq"] <= taken + PULLS * PULL_MESSAGES
    await reader.aclose()
    assert await consumers(log) == []


async def test_an_event_that_the_server_cannot_take_is_refused_alone(nats_server: NatsServer, instance: str):
    log = await JetStreamLog.connect(nats_server.url)
    writer = await log.open_writer(instance, opened(1), 0)
    log._connection.nc._max_payload = 10_000
    with pytest.raises(InvalidCommand, match="raise max_payload"):
        await writer.append([released(1, 1), registered(1, 2, 512)])
    await append_and_settle(writer, [released(1, 2)])
    await check_whole(log, instance, 1, 2)
    await log.close()


async def test_a_refusal_has_its_name(log: JetStreamLog):
    with pytest.raises(ApiRefused, match="stream not found") as refused:
        await log._api.purge("NONE")
    assert refused.value.code == STREAM_NOT_FOUND
