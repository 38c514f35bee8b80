"""A log on three servers: there the leader takes one expectation at a time, and a leader can be lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from kvbm_events.codec import decode
from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_events.jetstream.options import STREAM
from kvbm_events.schema.errors import Fenced
from support.nats import Cluster
from support.samples import Acks, append_and_settle, open_and_write, opened, read_all, released, small_events, snapshot


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


@pytest.fixture
async def log(cluster: Cluster) -> AsyncIterator[JetStreamLog]:
    log = await JetStreamLog.connect(cluster.url, Options(max_bytes=256 << 20, replicas=3, patience_s=60.0))
    yield log
    await log.close()


async def numbers(log: JetStreamLog, instance: str) -> list[int]:
    return [decode(entry.data).n for entry in await read_all(log, instance)]


async def test_events_of_any_number_are_stored_in_order(log: JetStreamLog, instance: str):
    writer = await log.open_writer(instance, opened(1), 0)
    n = 1
    for count in (1, 1, 3, 40, 1, 1500, 2):
        await writer.append(small_events(1, n, count))
        n += count
    await writer.settle()
    assert await numbers(log, instance) == list(range(n))
    assert await log.load_snapshot(instance) is None
    await log.save_snapshot(snapshot(instance, 5))
    assert await log.load_snapshot(instance) == snapshot(instance, 5)


async def test_a_writer_that_thought_it_was_alone_adapts(log: JetStreamLog, instance: str):
    """The stream got its replicas after the writer was opened."""
    log._is_serial = False
    writer = await log.open_writer(instance, opened(1), 0)
    for n in range(1, 9):
        await writer.append([released(1, n)])
    await writer.settle()
    await append_and_settle(writer, small_events(1, 9, 300))
    assert writer._outbox.is_serial
    assert await numbers(log, instance) == list(range(309))


async def test_of_equal_claims_one_wins(log: JetStreamLog, instance: str):
    """Here a duplicate id is told before an expectation is looked at."""
    claims = (log.open_writer(instance, opened(1), 0) for _ in range(4))
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Fenced"] * 3 + ["JetStreamWriter"]


async def test_a_superseded_owner_is_fenced(log: JetStreamLog, instance: str):
    old = await open_and_write(log, instance, 1, 3)
    await open_and_write(log, instance, 2, 3)
    with pytest.raises(Fenced):
        await append_and_settle(old, small_events(1, 4, 40))
    assert await numbers(log, instance) == [0, 1, 2, 3] * 2


async def test_a_lost_leader_loses_and_doubles_nothing(log: JetStreamLog, cluster: Cluster, instance: str):
    acks = Acks()
    writer = await log.open_writer(instance, opened(1), 0, acks)
    writing = asyncio.create_task(append_and_settle(writer, small_events(1, 1, 4000)))
    await acks.reach(500)
    info = await log._connection.nc.request(f"$JS.API.STREAM.INFO.{STREAM}", b"", timeout=5)
    cluster.kill(json.loads(info.data)["cluster"]["leader"])
    await writing
    assert await numbers(log, instance) == list(range(4001))
