"""`kvbm worker` and `kvbm serve --workers`, the real commands together."""

import asyncio

import pytest

from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.service import ServiceProcess, WorkerCommand

pytestmark = pytest.mark.usefixtures("commands")
KEYS = prefix(range(6))


async def store(kv, request, keys):
    slots = await kv.allocate(request, len(keys))
    await kv.register(request, slots, keys)
    await kv.release(request)


async def over(kv):
    """Wait until no transfer is open."""
    async with asyncio.timeout(30):
        while (await kv.status()).transfers:  # each answer comes with a turn of the owner's
            pass


def damage(path):
    """Turn every byte over."""
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


async def bring_back(kv, request, keys):
    """When they are down, push the blocks out of g1, and look them up with `onboard`; how many came up."""
    await over(kv)
    await kv.evict(keys, tier="g1")
    answer = await kv.match(request, keys, onboard=True, wait_s=20)
    await kv.release(request)
    assert answer.note == ""
    return sum(len(hit.slots) for hit in answer.hits if hit.tier == "g1")


async def test_blocks_go_down_and_up_through_two_workers(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, workers=2).start()
    workers = [await WorkerCommand(nats_url, instance, f"--rank={rank}", "--ranks=2").start() for rank in range(2)]
    async with await Publisher.connect(nats_url, instance) as kv:
        await store(kv, "a", KEYS)
        assert await bring_back(kv, "b", KEYS) == 6
    assert [await worker.terminate() for worker in workers] == [0, 0]
    assert any("worker stopped" in line for line in workers[0].said)
    assert await service.terminate() == 0


async def test_a_killed_worker_is_replaced_under_a_running_service(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, workers=1).start()
    worker = await WorkerCommand(nats_url, instance).start()
    async with await Publisher.connect(nats_url, instance) as kv:
        for round_ in range(3):
            keys = prefix([round_, *range(5)])
            await store(kv, f"a{round_}", keys)
            await worker.kill()
            worker = await WorkerCommand(nats_url, instance).start()
            assert await bring_back(kv, f"b{round_}", keys) == 6
    assert await worker.terminate() == 0
    assert await service.terminate() == 0


async def test_a_worker_lives_on_while_the_service_is_killed(nats_url, instance):
    worker = await WorkerCommand(nats_url, instance).start("worker started")
    for round_ in range(2):
        service = await ServiceProcess(nats_url, instance, workers=1).start()
        async with await Publisher.connect(nats_url, instance) as kv:
            keys = prefix([round_, *range(5)])
            await store(kv, f"a{round_}", keys)
            assert await bring_back(kv, f"b{round_}", keys) == 6
        await service.kill()
    assert await worker.terminate() == 0


async def test_what_is_in_a_folder_survives_the_worker_and_comes_up_unharmed(nats_url, instance, tmp_path):
    memory = f"--folder={tmp_path}", "--layout=tiny"
    service = await ServiceProcess(nats_url, instance, workers=1).start()
    worker = await WorkerCommand(nats_url, instance, *memory).start()
    async with await Publisher.connect(nats_url, instance) as kv:
        await store(kv, "a", KEYS)
        await over(kv)
        await worker.kill()
        worker = await WorkerCommand(nats_url, instance, *memory).start()
        assert await bring_back(kv, "b", KEYS) == 6
        assert await worker.terminate() == 0
        damage(tmp_path / "g2.arena")
        worker = await WorkerCommand(nats_url, instance, *memory).start()
        await kv.evict(KEYS, tier="g1")
        answer = await kv.match("c", KEYS, onboard=True, wait_s=20)
        assert [hit for hit in answer.hits if hit.tier == "g1"] == [], "a block with other bytes was loaded"
        assert answer.note == "6 did not come: corrupt"
        assert (await kv.match("d", KEYS)).hits == [], "what is corrupt is evicted"
    assert await worker.terminate() == 0
    assert await service.terminate() == 0


async def test_a_worker_of_another_namespace_ends_with_2_and_says_why(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, workers=1).start()
    worker = await WorkerCommand(nats_url, instance, namespace="model=other").start("worker started")
    assert await worker.exited() == 2
    assert "its namespace is 'model=other'" in "".join(worker.said)
    await service.hear("a worker was refused")
    assert await service.terminate() == 0


async def test_a_second_worker_of_a_rank_ends_with_2(nats_url, instance):
    worker = await WorkerCommand(nats_url, instance).start("worker started")
    second = await WorkerCommand(nats_url, instance).start("worker started")
    assert await second.exited() == 2
    assert "rank 0" in "".join(second.said)
    assert await worker.terminate() == 0


async def test_a_plan_that_cannot_be_is_refused(nats_url, instance):
    worker = await WorkerCommand(nats_url, instance, "--rank=3", "--ranks=2").start("rank 3 of 2")
    assert await worker.exited() == 2
