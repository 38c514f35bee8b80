"""Each cause of a miss, in the smallest history that has it."""

from __future__ import annotations

import pytest

from explain.small_owner import NAMESPACE, Owner, causes, prompt
from kvbm_events.schema import ROOT
from kvbm_nats.explain import why_miss
from kvbm_nats.projection import open_projection
from kvbm_statemachine.decide import (
    allocate,
    complete_transfer,
    evict,
    fail_transfer,
    match,
    onboard,
    register,
)
from projection.checks import caught_up


async def test_nothing_was_missed(log, ask_why):
    owner = Owner(log)
    owner.fill("req-1", prompt("a", "b"))
    owner.ask("req-2", prompt("a", "b"))
    found = await ask_why("req-2")
    assert (found.losses, found.missed, found.found) == ([], 0, {"g1": 2})


async def test_new_at_the_start_and_behind_what_was_there(log, ask_why):
    owner = Owner(log)
    owner.fill("req-1", prompt("a", "b"))
    first = await ask_why("req-1")
    assert causes(first) == [("new", 0, 2)]
    assert first.losses[0].said == "block 0 (tokens 0 to 15): nothing was ever stored here"
    owner.ask("req-2", prompt("a", "b", "c", "d"))
    second = await ask_why("req-2")
    assert causes(second) == [("new", 2, 2)]
    assert (second.losses[0].tokens, second.losses[0].first_token) == (32, 32)


async def test_the_timestamp_in_a_system_prompt(log, ask_why):
    owner = Owner(log, plan="g1=32")
    for number in range(5):
        owner.at(number)
        owner.fill(f"req-{number}", prompt("you are", f"today is {number}", "and now"))
    found = await ask_why("req-4")
    assert causes(found) == [("diverged", 1, 2)]
    (loss,) = found.losses
    assert (loss.requests, loss.parent, loss.first_token) == (4, prompt("you are")[0], 16)
    assert (
        loss.said
        == "the prompt parts from others at block 1 (tokens 16 to 31): 4 requests before went another way from here"
    )
    assert [fact.said for fact in loss.evidence] == [
        "3 blocks registered in g1 by req-0",
        "2 blocks registered in g1 by req-3",
    ]


async def test_a_way_that_was_gone_at_the_same_time_counts(log, ask_why):
    """req-2 computes what req-1 has registered meanwhile, and then goes another way."""
    owner = Owner(log, plan="g1=32")
    owner.ask("req-1", prompt("s", "x"), hold=True)
    owner.ask("req-2", prompt("s", "y"), hold=True)
    owner.compute("req-1", prompt("s", "x"))
    owner.compute("req-2", prompt("s", "y"))
    owner.ask("req-3", prompt("s", "z"))
    assert (await ask_why("req-3")).losses[0].requests == 2


async def test_who_computed_in_vain_what_was_there_went_no_other_way(log, ask_why):
    owner = Owner(log, plan="g1=32")
    owner.ask("req-1", prompt("s", "x"), hold=True)
    owner.ask("req-2", prompt("s", "x"), hold=True)
    owner.compute("req-1", prompt("s", "x"))
    owner.compute("req-2", prompt("s", "x"))
    owner.ask("req-3", prompt("s", "x", "z"))
    assert causes(await ask_why("req-3")) == [("new", 2, 1)]


async def test_another_salt_is_another_prompt_from_its_start(log, ask_why):
    owner = Owner(log)
    owner.fill("req-1", prompt("tenant-1", "a"))
    owner.ask("req-2", prompt("tenant-2", "a"))
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.parent, loss.requests) == ("diverged", ROOT, 1)
    assert "Another system prompt, or salt" in loss.said


async def test_evicted_tells_when_where_by_whom_and_what_would_have_kept_it(log, ask_why):
    owner = Owner(log, plan="g1=4")
    owner.fill("req-1", prompt("a", "b"))
    owner.at(10)
    owner.fill("req-2", prompt("c", "d", "e"))
    evicted = await log.last_seq() - 3
    owner.at(13.5)
    owner.ask("req-4", prompt("a", "b"))
    found = await ask_why("req-4")
    assert causes(found) == [("evicted", 1, 1)]
    (loss,) = found.losses
    assert (loss.seq, loss.tier, loss.reason, loss.actor, loss.by) == (
        evicted,
        "g1",
        "capacity",
        "lineage-lru",
        "req-2",
    )
    assert (loss.capacity, loss.capacity_needed) == (4, 5)
    assert (
        "evicted from g1 3.5 s before: lineage-lru made room for req-2. g1 with 5 blocks would have kept it"
        in loss.said
    )
    assert next(fact.said for fact in loss.evidence) == "registered in g1 slot 1 by req-1"


async def test_what_left_after_it_would_have_needed_room_too(log, ask_why):
    owner = Owner(log, plan="g1=4")
    for number, letters in enumerate(["ab", "cdef", "ghij"]):
        owner.fill(f"req-{number}", prompt(*letters))
    owner.ask("req-9", prompt("a", "b"))
    (loss,) = (await ask_why("req-9")).losses
    # After a and b came c to j: 8 blocks, and those two.
    assert (loss.cause, loss.first_block, loss.blocks, loss.capacity_needed) == ("evicted", 0, 2, 10)
    assert loss.said.endswith("g1 with 10 blocks would have kept all 2, it has 4")


async def test_what_was_evicted_and_is_back_needs_no_further_room(log, ask_why):
    owner = Owner(log, plan="g1=4")
    for number, letters in enumerate(["a", "bcde", "fghi", "bcde"]):
        owner.fill(f"req-{number}", prompt(*letters))
    owner.ask("req-9", prompt("a"))
    assert (await ask_why("req-9")).losses[0].capacity_needed == 9


async def test_who_stood_on_it_went_before_it(log, ask_why):
    """What another prompt had behind the lost blocks was evicted in the same event and is not counted."""
    owner = Owner(log, plan="g1=4")
    owner.fill("req-1", prompt("a", "b", "c", "d"))
    owner.fill("req-2", prompt("e", "f", "g", "h"))
    owner.ask("req-3", prompt("a", "b", "x"))
    found = await ask_why("req-3")
    assert causes(found) == [("evicted", 0, 2), ("diverged", 2, 1)]
    assert found.losses[0].capacity_needed == 6


async def test_by_hand_and_by_age_have_no_capacity_to_name(log, ask_why):
    owner = Owner(log)
    owner.fill("req-1", prompt("a"))
    evict(owner.desk, "g1", prompt("a"), reason="ttl", actor="janitor")
    owner.ask("req-2", prompt("a"))
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.reason, loss.capacity_needed) == ("evicted", "ttl", None)
    assert loss.said.endswith("before: ttl, by janitor")


async def test_evicted_and_then_new(log, ask_why):
    owner = Owner(log, plan="g1=2")
    owner.fill("req-1", prompt("a", "b"))
    owner.fill("req-2", prompt("c", "d"))
    owner.ask("req-3", prompt("a", "b", "x", "y", "z"))
    assert causes(await ask_why("req-3")) == [("evicted", 0, 2), ("new", 2, 3)]


async def test_not_admitted(log, ask_why):
    owner = Owner(log, plan="g1=2,g2=8:selective/2")
    owner.fill("req-1", prompt("a"))
    owner.fill("req-2", prompt("c", "d"))
    owner.ask("req-3", prompt("a"))
    (loss,) = (await ask_why("req-3")).losses
    assert loss.cause == "not_admitted"
    assert "g2 takes what was seen 2 times, it was seen 1" in loss.said


async def test_seen_often_enough_and_sent_down_is_evicted_when_it_leaves_there(log, ask_why):
    owner = Owner(log, plan="g1=2,g2=1:selective/2")
    owner.fill("req-1", prompt("a"))
    owner.ask("req-2", prompt("a"))
    owner.down_and_out(prompt("a"))
    evict(owner.desk, "g2", prompt("a"), reason="operator", actor="ops")
    owner.ask("req-3", prompt("a"))
    (loss,) = (await ask_why("req-3")).losses
    assert (loss.cause, loss.tier, loss.actor) == ("evicted", "g2", "ops")


async def test_seen_often_enough_and_refused_for_want_of_room_is_evicted(log, ask_why):
    owner = Owner(log, plan="g1=1,g2=8:selective/2")
    owner.fill("req-1", prompt("a"))
    owner.ask("req-2", prompt("a"))
    owner.fill("req-3", prompt("b"))
    owner.ask("req-4", prompt("a"))
    (loss,) = (await ask_why("req-4")).losses
    assert (loss.cause, loss.tier) == ("evicted", "g1")


async def test_corrupt(log, ask_why):
    owner = Owner(log, plan="g1=4,g2=4")
    owner.fill("req-1", prompt("a", "b"))
    owner.down_and_out(prompt("a", "b"))
    evict(owner.desk, "g2", prompt("a")[:1], reason="corrupt", actor="mover")
    owner.ask("req-2", prompt("a", "b"))
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.tier, loss.blocks) == ("corrupt", "g2", 2)


@pytest.mark.parametrize(("reason", "cause"), [("deadline passed", "load_failed"), ("corrupt", "corrupt")])
async def test_found_below_and_not_loaded(log, ask_why, reason, cause):
    owner = Owner(log, plan="g1=4,g2=4")
    keys = prompt("a", "b", "c")
    owner.fill("req-1", keys)
    owner.down_and_out(keys)
    owner.ask("req-2", [*keys, *prompt("x")], hold=True)
    event = onboard(owner.desk, "g2", "g1", keys, request="req-2", deadline_us=1)
    slots = [slot for first, count in event.slots for slot in range(first, first + count)]
    complete_transfer(owner.desk, event.transfer, slots=slots[:1])
    fail_transfer(owner.desk, event.transfer, reason=reason, slots=slots[1:])
    found = await ask_why("req-2")
    assert causes(found) == [(cause, 1, 2), ("new", 3, 1)]
    assert (found.losses[0].key, found.losses[0].parent, found.losses[0].reason) == (keys[1], keys[0], reason)


async def test_another_look_up_of_the_request_is_not_blamed_for_the_first_ones_load(log, ask_why):
    owner = Owner(log, plan="g1=4,g2=4")
    keys = prompt("a")
    owner.fill("req-1", keys)
    owner.down_and_out(keys)
    first = await log.last_seq() + 1
    owner.ask("req-2", keys, hold=True)
    event = onboard(owner.desk, "g2", "g1", keys, request="req-2", deadline_us=1)
    fail_transfer(owner.desk, event.transfer, reason="no route")
    owner.ask("req-2", keys)
    again, before = await ask_why("req-2"), await ask_why("req-2", until=first)
    assert (causes(again), again.look_up, again.look_ups) == ([], 2, 2)
    assert (causes(before), before.look_up, before.look_ups) == ([("load_failed", 0, 1)], 1, 2)


async def test_in_flight_another_request_computes_it(log, ask_why):
    owner = Owner(log, plan="g1=8")
    owner.ask("req-1", prompt("a", "b"), hold=True)
    owner.at(1)
    owner.ask("req-2", prompt("a", "b", "c"), hold=True)
    owner.at(1.25)
    owner.compute("req-1", prompt("a", "b"))
    found = await ask_why("req-2")
    assert causes(found) == [("in_flight", 0, 2), ("new", 2, 1)]
    assert found.losses[0].by == "req-1"
    assert found.losses[0].said.endswith("was being computed by req-1, which registered it 250 ms later")


async def test_its_own_computing_is_not_in_flight(log, ask_why):
    owner = Owner(log, plan="g1=8")
    owner.fill("req-1", prompt("a"))
    assert causes(await ask_why("req-1")) == [("new", 0, 1)]


async def test_who_asked_later_was_not_computing_it(log, ask_why):
    owner = Owner(log, plan="g1=8")
    owner.ask("req-1", prompt("a"))
    owner.fill("req-2", prompt("a"))
    assert causes(await ask_why("req-1")) == [("new", 0, 1)]


async def test_in_flight_on_its_way_down(log, ask_why):
    """g1 is reset while a copy to g2 goes on: the block is nowhere, and will be in g2."""
    owner = Owner(log, plan="g1=4,g2=4")
    owner.fill("req-1", prompt("a", "b"))
    transfer = owner.down(prompt("a", "b"))
    evict(owner.desk, "g1", prompt("a"), reason="corrupt", actor="test")
    owner.ask("req-2", prompt("a", "b"))
    complete_transfer(owner.desk, transfer)
    found = await ask_why("req-2")
    assert causes(found) == [("in_flight", 0, 2)]
    assert "on its way g1 → g2" in found.losses[0].said


async def test_arrived_and_not_acknowledged(log, ask_why):
    owner = Owner(log, plan="g1=4,g2=4")
    owner.fill("req-1", prompt("a"))
    owner.down_and_out(prompt("a"))
    match(owner.desk, "req-2", prompt("a"), hold=False, hidden={"g2": set(prompt("a"))})
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.tier) == ("in_flight", "g2")
    assert "not acknowledged yet" in loss.said


async def test_unreachable_behind_a_slower_tier(log, ask_why):
    owner = Owner(log, plan="g1=4,g2=4")
    keys = prompt("a", "b")
    owner.fill("req-1", keys)
    owner.down_and_out(keys)
    evict(owner.desk, "g2", keys[1:], reason="operator", actor="test")
    register(owner.desk, "g1", "req-2", allocate(owner.desk, "g1", "req-2", 1), keys[1:], keys[0])
    owner.ask("req-3", keys)
    (loss,) = (await ask_why("req-3")).losses
    assert (loss.cause, loss.tier, loss.first_block) == ("unreachable", "g1", 1)


async def test_reset(log, ask_why):
    owner = Owner(log)
    owner.fill("req-1", prompt("a"))
    owner.engine._open("g1=4", NAMESPACE)
    owner.ask("req-2", prompt("a"))
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.tier) == ("reset", "g1")
    assert "epoch 2 began without its blocks" in loss.said


async def test_an_epoch_of_another_namespace(log, ask_why):
    owner = Owner(log)
    owner.fill("req-1", prompt("a"))
    owner.engine._open("g1=4", "model=other;block_tokens=16")
    owner.ask("req-2", prompt("a"))
    assert (await ask_why("req-2")).losses[0].cause == "other_namespace"


async def test_another_instance_has_it(log, ask_why):
    here, there = Owner(log, "here"), Owner(log, "there")
    there.fill("req-1", prompt("a", "b"))
    here.ask("req-2", prompt("a", "b", "c"))
    found = await ask_why("req-2")
    assert causes(found) == [("other_instance", 0, 2), ("new", 2, 1)]
    assert found.losses[0].instance == "there"


async def test_another_instance_had_it(log, ask_why):
    here, there = Owner(log, "here"), Owner(log, "there")
    there.fill("req-1", prompt("a"))
    evict(there.desk, "g1", prompt("a"), reason="operator", actor="test")
    here.ask("req-2", prompt("a"))
    assert (await ask_why("req-2")).losses[0].cause == "new"


async def test_another_instance_of_another_namespace(log, ask_why):
    here, there = Owner(log, "here"), Owner(log, "there", namespace="model=other")
    there.fill("req-1", prompt("a"))
    here.ask("req-2", prompt("a"))
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.instance) == ("other_namespace", "there")
    assert "'model=other' (there)" in loss.said


async def test_a_request_of_two_instances_is_told_apart(log, ask_why):
    here, there = Owner(log, "here"), Owner(log, "there")
    here.fill("req-1", prompt("a"))
    there.fill("req-1", prompt("b", "c"))
    assert (await ask_why("req-1", instance="here")).asked == 1
    assert (await ask_why("req-1")).asked == 2


async def test_without_block_tokens_in_the_namespace_blocks_are_counted_alone(log, ask_why):
    owner = Owner(log, namespace="model=test")
    owner.fill("req-1", prompt("a"))
    found = await ask_why("req-1")
    assert (found.block_tokens, found.losses[0].tokens, found.losses[0].said[:9]) == (None, None, "block 0: ")


async def test_who_never_asked(log, tmp_path):
    Owner(log).fill("req-1", prompt("a"))
    url = str(tmp_path / "projection.db")
    await caught_up(url, log)
    async with open_projection(url) as projection:
        assert await why_miss(projection, "nobody") is None
        assert await why_miss(projection, "req-1", until=1) is None
