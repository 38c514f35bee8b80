"""`kvbm worker --store g4=s3://…` under `kvbm serve`: real commands over a real nats-server, and a store with faults."""

import asyncio

import pytest

from kvbm_events.schema import Evicted, Noted, OffloadFailed, OnboardFailed
from kvbm_nats.publisher import Publisher
from kvbm_tiers import Medium, preset
from kvbm_tiers.objects import Names
from support.chained_keys import prefix
from support.object_servers import SECRET
from support.s3_faults import Fault
from support.service import NAMESPACE, ServiceProcess, WorkerCommand
from support.workers import Site

pytestmark = pytest.mark.usefixtures("commands")
TIERS = "g1=32,g2=64,g4=128"
KEYS = prefix(range(6))


class Fleet:
    """A service, its worker, and a client."""

    def __init__(self, url, instance, s3, folder, *serve):
        self.url, self.instance, self.s3, self._serve = url, instance, s3, serve
        s3.options = {"timeout_s": 4}
        self._memory = f"--folder={folder}", "--layout=tiny", f"--store=g4={s3.url('cache')}"
        prefix_ = Medium.parse(s3.url("cache")).path
        self.names = Names.of(prefix_, NAMESPACE, preset("tiny"), instance)
        self.said = []

    async def start(self):
        self.service = await ServiceProcess(self.url, self.instance, *self._serve, workers=1, tiers=TIERS).start()
        await self.start_worker()
        self.kv = await Publisher.connect(self.url, self.instance)
        return self

    async def start_worker(self):
        self.worker = await WorkerCommand(self.url, self.instance, *self._memory, tiers=TIERS).start()

    async def stop(self):
        await self.kv.close()
        assert await self.worker.terminate() == 0
        assert await self.service.terminate() == 0
        self.said += [*self.worker.said, *self.service.said]

    async def compute(self, request, keys=KEYS):
        slots = await self.kv.allocate(request, len(keys))
        await self.kv.register(request, slots, keys)
        await self.kv.release(request)

    async def over(self):
        """Wait until no transfer is open."""
        async with asyncio.timeout(60):
            while (await self.kv.status()).transfers:  # each answer comes with a turn of the owner's
                pass

    async def load(self, request, keys=KEYS):
        """Bring blocks up from objects alone; how many came."""
        for tier in ("g1", "g2"):
            await self.kv.evict(keys, tier=tier)
        answer = await self.kv.match(request, keys, onboard=True, wait_s=30)
        await self.kv.release(request)
        await self.over()
        return sum(len(hit.slots) for hit in answer.hits if hit.tier == "g1")

    async def wait_objects(self, keys):
        """Wait until there are objects of these blocks and of no others."""
        wanted = sorted([*(self.names.of_block(key) for key in keys), self.names.sidecar])
        async with asyncio.timeout(30):
            while self.s3.bucket.names != wanted:  # noqa: ASYNC110 - a store tells nobody
                await asyncio.sleep(0.01)

    async def events(self, kind):
        """Those of a kind that the log has."""
        found = await asyncio.to_thread(Site(self.url, self.instance).events)
        return [event for event in found if isinstance(event, kind)]


@pytest.fixture
async def fleet(nats_url, instance, s3, tmp_path):
    fleet = await Fleet(nats_url, instance, s3, tmp_path / "memory").start()
    yield fleet
    await fleet.stop()
    assert SECRET not in "".join(fleet.said)


async def test_blocks_go_down_to_objects_come_up_and_are_deleted(fleet):
    await fleet.compute("a")
    await fleet.over()
    await fleet.wait_objects(KEYS)
    assert await fleet.load("b") == 6
    await fleet.kv.evict(KEYS[4:], tier="g4")
    await fleet.wait_objects(KEYS[:4])


async def test_a_worker_that_is_killed_is_followed_by_one_that_finds_the_objects(fleet):
    for round_ in range(3):
        keys = prefix([round_, *range(5)])
        await fleet.compute(f"a{round_}", keys)
        await fleet.over()
        await fleet.worker.kill()
        await fleet.start_worker()
        assert await fleet.load(f"b{round_}", keys) == 6


async def test_a_worker_that_is_killed_in_mid_write_is_followed_by_one_that_writes(fleet):
    fleet.s3.set_faults(Fault("hang", method="PUT", key=f"*{KEYS[3]}*"))
    await fleet.compute("a")
    await asyncio.to_thread(fleet.s3.wait_request, f"PUT {fleet.names.of_block(KEYS[3])}")
    await fleet.worker.kill()
    fleet.s3.set_faults()
    await fleet.start_worker()
    await fleet.over()
    await fleet.wait_objects(KEYS)
    assert await fleet.load("b") == 6


async def test_what_was_deleted_before_a_worker_came_and_written_again_is_not_deleted_again(fleet):
    await fleet.compute("a")
    await fleet.over()
    await fleet.kv.evict(KEYS, tier="g4")
    await fleet.wait_objects([])
    for tier in ("g1", "g2"):
        await fleet.kv.evict(KEYS, tier=tier)
    await fleet.compute("b")
    await fleet.over()
    await fleet.worker.kill()
    await fleet.start_worker()
    assert await fleet.load("c") == 6
    await fleet.wait_objects(KEYS)


async def test_an_object_that_is_gone_fails_leaves_the_index_and_the_rest_is_served(fleet):
    await fleet.compute("a")
    await fleet.over()
    fleet.s3.bucket.delete(fleet.names.of_block(KEYS[3]))
    assert await fleet.load("b") == 3
    assert [event.reason for event in await fleet.events(OnboardFailed)] == ["gone: no such object"]
    evicted = [event for event in await fleet.events(Evicted) if event.tier == "g4"]
    assert [(event.reason, event.actor) for event in evicted] == [("gone", "mover")]
    assert await fleet.load("c") == 3


async def test_a_store_that_dies_and_comes_back_costs_what_was_under_way_and_nothing_else(fleet):
    await fleet.compute("a")
    await fleet.over()
    fleet.s3.kill()
    other = prefix([9, *range(5)])
    await fleet.compute("b", other)
    await fleet.over()
    assert {event.reason for event in await fleet.events(OffloadFailed)} == {"no connection"}
    fleet.s3.start()
    assert await fleet.load("c") == 6
    status = await fleet.kv.status()
    assert {tier.quarantined for tier in status.tiers} == {0}


async def test_workers_read_what_another_instance_has_put_there_and_never_delete_it(fleet, nats_url, s3, tmp_path):
    await fleet.compute("a")
    await fleet.over()
    await fleet.wait_objects(KEYS)
    before = s3.bucket.names
    name = f"{fleet.instance}-reader"
    reader = await Fleet(nats_url, name, s3, tmp_path / "reader", f"--peers={fleet.instance}").start()
    try:
        async with asyncio.timeout(30):
            while not await reader.load("b"):  # it has not read the other's log yet
                pass
        assert await reader.load("c") == 6
        assert {event.writer for event in await reader.events(Noted)} == {fleet.instance}
        await reader.kv.evict(KEYS, tier="g4")
        await reader.over()
    finally:
        await reader.stop()
    assert set(s3.bucket.names) == {*before, reader.names.sidecar}
