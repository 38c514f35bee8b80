"""The real command killed in the middle of traffic, and asked to end: what was answered is there afterwards."""

import asyncio
import random

import pytest

from kvbm_events.jetstream import JetStreamLog
from kvbm_nats.publisher import Publisher
from kvbm_nats.recovery import recover
from kvbm_statemachine import check_integrity
from support.chained_keys import prefix
from support.service import ServiceProcess

ROUNDS = 4
CLIENTS = 8
ANSWERS_A_ROUND = 60
TIERS = "g1=40000"


async def register_prompts(kv, name, stored, on_stored):
    """Prompts without end; each that was answered as registered is noted."""
    number = 0
    while True:
        number += 1
        request, keys = f"{name}-{number}", prefix([name, number, *range(4)])
        slots = await kv.allocate(request, len(keys))
        await kv.register(request, slots, keys)
        stored.append(keys)
        on_stored()
        await kv.release(request)


@pytest.mark.parametrize("seed", range(2))
async def test_every_answered_register_matches_after_kill_9(nats_url, instance, seed):
    chance = random.Random(seed)
    service = await ServiceProcess(nats_url, instance, tiers=TIERS).start()
    stored = []
    enough = asyncio.Event()
    target = 0

    def note():
        if len(stored) >= target:
            enough.set()

    async with await Publisher.connect(nats_url, instance, attempt_s=2.0, timeout_s=60.0) as kv:
        traffic = [asyncio.create_task(register_prompts(kv, c, stored, note)) for c in range(CLIENTS)]
        for _ in range(ROUNDS):
            target = len(stored) + chance.randrange(1, ANSWERS_A_ROUND)
            enough.clear()
            await asyncio.wait_for(enough.wait(), 60)
            await service.kill()
            service = await ServiceProcess(nats_url, instance, tiers=TIERS).start()
        for task in traffic:
            task.cancel()
        ends = await asyncio.gather(*traffic, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}, "a question was refused that had been done"
        for keys in stored:
            answer = await kv.match("check", keys, hold=False, durable=False)
            assert [len(hit.slots) for hit in answer.hits] == [len(keys)]
        status = await kv.status(with_digest=True)
        assert status.epoch == ROUNDS + 1
    assert await service.terminate() == 0
    assert len(stored) >= ROUNDS


async def test_asked_to_end_it_answers_what_it_was_asked_and_writes_a_snapshot(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, tiers=TIERS).start()
    async with await Publisher.connect(nats_url, instance, timeout_s=2.0, attempt_s=2.0) as kv:
        asked = [asyncio.create_task(kv.allocate(f"r{number}", 1)) for number in range(50)]
        await kv.status()
        code = await service.terminate()
        answers = await asyncio.gather(*asked)
    assert code == 0
    assert len({slots[0] for slots in answers}) == 50
    log = await JetStreamLog.connect(nats_url)
    recovered = await recover(log, instance)
    await log.close()
    assert recovered.events == 0, "the snapshot is not of the very end"
    assert len(recovered.state.requests) == 50
    assert check_integrity(recovered.state) == []
