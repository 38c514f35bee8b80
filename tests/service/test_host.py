"""One hosted instance, without NATS: when it answers, what it does once, and whose requests it lets go."""

import asyncio
import json

import pytest

from kvbm_events.memory import MemoryLog
from kvbm_events.schema.errors import Fenced, InvalidCommand, LogFull, TooManyRequests, UnknownRequest
from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from support.chained_keys import prefix
from support.service import LEASE_S, NAMESPACE, TIERS, HeldLog

KEYS = prefix(range(8))


async def question(hosted, verb, **body):
    return await hosted.raw(verb, json.dumps({"client": "c", **body}).encode())


async def test_an_answer_comes_when_its_event_is_stored(open_hosted):
    log = HeldLog()
    hosted = await open_hosted(log)
    log.held = True
    asked = [asyncio.create_task(hosted.ask("allocate", request=f"r{i}", count=1)) for i in range(20)]
    await hosted.until(lambda status: status["requests"] == 20)  # all are decided, each after what was asked before
    assert not any(each.done() for each in asked)
    log.let_go()
    assert sorted(answer["slots"][0] for answer in await asyncio.gather(*asked)) == list(range(20))


async def test_an_answer_that_need_not_last_does_not_wait(open_hosted):
    log = HeldLog()
    hosted = await open_hosted(log)
    log.held = True
    assert (await hosted.ask("allocate", request="r", count=2, durable=False))["slots"] == [0, 1]
    log.let_go()


async def test_a_refusal_does_not_wait_for_what_others_did(open_hosted):
    log = HeldLog()
    hosted = await open_hosted(log)
    log.held = True
    waiting = asyncio.create_task(hosted.ask("allocate", request="r", count=2))
    with pytest.raises(UnknownRequest):
        await hosted.ask("release", request="nobody")
    assert not waiting.done()
    log.let_go()
    await waiting


async def test_a_repeated_question_allocates_once(open_hosted):
    hosted = await open_hosted()
    first = await question(hosted, "allocate", number=7, request="r", count=3)
    again = await question(hosted, "allocate", number=7, attempt=1, request="r", count=3)
    assert first == again
    tier = (await hosted.ask("status"))["tiers"][0]
    assert tier["allocated"] == 3


async def test_a_question_repeated_before_its_answer_is_done_once(open_hosted):
    log = HeldLog()
    hosted = await open_hosted(log)
    log.held = True
    asked = [asyncio.create_task(question(hosted, "allocate", number=7, request="r", count=3)) for _ in range(3)]
    await hosted.until(lambda status: status["requests"])
    log.let_go()
    assert len(set(await asyncio.gather(*asked))) == 1
    assert (await hosted.ask("status"))["tiers"][0]["allocated"] == 3


async def test_a_refusal_is_repeated_too(open_hosted):
    hosted = await open_hosted()
    first = await question(hosted, "release", number=7, request="r")
    await hosted.ask("allocate", request="r", count=1)
    assert await question(hosted, "release", number=7, request="r") == first
    assert first.code == "409"


async def test_a_vanished_clients_requests_are_released(open_hosted):
    hosted = await open_hosted()
    await hosted.ask("allocate", request="r1", count=3)
    await hosted.ask("match", request="r2", keys=KEYS, client="d")
    await hosted.pass_time(LEASE_S - 1)
    await hosted.ask("renew", client="d")
    await hosted.pass_time(2)
    status = await hosted.ask("status")
    assert (status["requests"], status["tiers"][0]["free"]) == (1, 64)
    await hosted.pass_time(LEASE_S)
    assert await hosted.requests() == 0
    assert await hosted.reasons() == {"r1": "lease_expired", "r2": "lease_expired"}


async def test_a_service_that_was_held_up_counts_no_silence(open_hosted):
    hosted = await open_hosted()
    await hosted.ask("allocate", request="r", count=1)
    hosted.clock.now_s += 10 * LEASE_S  # as after SIGSTOP: no turn in between
    await hosted.host.turn()
    assert await hosted.requests() == 1
    await hosted.pass_time(LEASE_S + 1)
    assert await hosted.requests() == 0


async def test_a_service_that_cannot_be_reached_counts_no_silence(open_hosted):
    hosted = await open_hosted()
    await hosted.ask("allocate", request="r", count=1)
    hosted.reachable = False
    await hosted.pass_time(3 * LEASE_S)
    assert await hosted.requests() == 1
    hosted.reachable = True
    await hosted.pass_time(LEASE_S + 1)
    assert await hosted.requests() == 0


async def test_after_a_restart_requests_have_one_period_to_be_named(open_hosted):
    first = await open_hosted()
    for request in ("named", "claimed", "forgotten"):
        await first.ask("allocate", request=request, count=2)
    await first.close()
    second = await open_hosted(first.log)
    assert await second.requests() == 3
    await second.pass_time(LEASE_S - 1)
    await second.ask("match", request="named", keys=KEYS)
    answer = await second.ask("renew", requests=["claimed", "unheard of"])
    assert (answer["epoch"], answer["lost"], answer["lease_s"]) == (2, ["unheard of"], LEASE_S)
    await second.pass_time(2)
    assert await second.requests() == 2
    assert await second.reasons() == {"forgotten": "lease_expired"}


async def test_what_was_done_before_a_restart_is_not_refused_afterwards(open_hosted):
    first = await open_hosted()
    slots = (await first.ask("allocate", request="r", count=8))["slots"]
    await first.ask("register", request="r", slots=slots, keys=KEYS)
    await first.ask("match", request="gone", keys=KEYS)
    await first.ask("release", request="gone")
    await first.close()
    second = await open_hosted(first.log)
    again = {"attempt": 1, "epoch": 1}
    assert (await second.ask("register", request="r", slots=slots, keys=KEYS, **again))["slots"] == slots
    await second.ask("release", request="gone", **again)
    with pytest.raises(InvalidCommand):
        await second.ask("register", request="r", slots=slots, keys=KEYS, attempt=0, epoch=1)
    with pytest.raises(InvalidCommand):
        await second.ask("register", request="r", slots=slots, keys=KEYS, attempt=1, epoch=2)
    with pytest.raises(InvalidCommand):
        await second.ask("register", request="r", slots=slots, keys=prefix(range(50, 58)), **again)
    with pytest.raises(UnknownRequest):
        await second.ask("release", request="gone")


async def test_who_was_superseded_says_nothing_more(open_hosted):
    hosted = await open_hosted()
    await hosted.ask("allocate", request="r", count=1)
    other = await asyncio.to_thread(
        BlockManager.open, hosted.log, "i", namespace=NAMESPACE, tiers=parse_plan(TIERS), requests="kept"
    )
    assert await question(hosted, "allocate", number=100, request="r", count=1) is None
    assert await question(hosted, "allocate", number=101, request="r", count=1) is None
    assert await hosted.raw("status", b"") is None
    assert [type(error) for error in hosted.lost] == [Fenced]
    await asyncio.to_thread(other.close)


async def test_who_hears_of_another_owner_says_nothing_more(open_hosted):
    log = HeldLog()
    hosted = await open_hosted(log)
    log.held = True
    waiting = asyncio.create_task(question(hosted, "allocate", number=1, request="r", count=1))
    await hosted.until(lambda status: status["requests"])
    hosted.host.fence(2)
    assert await waiting is None
    assert await hosted.raw("status", b"") is None
    assert [type(error) for error in hosted.lost] == [Fenced]
    log.let_go()


async def test_a_full_log_is_told_to_those_who_asked(open_hosted):
    hosted = await open_hosted(MemoryLog(bytes_max=2000))
    with pytest.raises(LogFull):
        for number in range(100):
            await hosted.ask("allocate", request=f"r{number}", count=1, durable=bool(number % 2))
    assert [type(error) for error in hosted.lost] == [LogFull]
    with pytest.raises(LogFull):
        await hosted.ask("status")


async def test_the_limit_of_clients_is_an_error_with_a_name(open_hosted, monkeypatch):
    monkeypatch.setattr("kvbm_nats.service.leases.MAX_CLIENTS", 2)
    hosted = await open_hosted()
    for client in "ab":
        await hosted.ask("renew", client=client)
    with pytest.raises(TooManyRequests, match="2 clients"):
        await hosted.ask("allocate", client="c", request="r", count=1)
    assert await hosted.requests() == 0


async def test_a_fault_of_the_program_is_told_and_does_not_end_the_service(open_hosted, monkeypatch):
    hosted = await open_hosted()

    def stumble(*_arguments, **_more):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(BlockManager, "evict", stumble)
    reply = await question(hosted, "evict", number=50, keys=KEYS, tier="g1")
    assert reply.code == "500"
    assert b"ZeroDivisionError: oops" in reply.data
    assert await hosted.requests() == 0


async def test_closing_writes_a_snapshot_at_the_very_end(open_hosted):
    hosted = await open_hosted()
    await hosted.ask("allocate", request="r", count=1)
    await hosted.close()
    snapshot = await hosted.log.load_snapshot("i")
    assert snapshot is not None
    assert snapshot.seq == await hosted.log.last_seq("i")


async def test_a_verb_that_takes_a_while_does_not_hold_the_loop_up(open_hosted, monkeypatch):
    hosted = await open_hosted()
    may_end = asyncio.Event()
    loop = asyncio.get_running_loop()

    def take_long(_self, *_arguments, **_more):
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result(30)
        return 0

    monkeypatch.setattr(BlockManager, "evict", take_long)
    slow = asyncio.create_task(hosted.ask("evict", keys=KEYS, tier="g1"))
    behind = asyncio.create_task(hosted.ask("allocate", request="r", count=1))
    await asyncio.sleep(0)
    may_end.set()
    assert (await slow)["blocks"] == 0
    assert (await behind)["slots"] == [0]
