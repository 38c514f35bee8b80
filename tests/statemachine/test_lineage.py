"""Chains: what a pin keeps, what a branch holds, what comes back to its parent, and in which order blocks leave."""

import pytest

from kvbm_events.schema import LOST, Evicted, OffloadStarted
from kvbm_events.schema.errors import BlockHeld, TierFull
from kvbm_statemachine import SlotState, check_integrity
from kvbm_statemachine.decide import (
    allocate,
    complete_transfer,
    evict,
    fail_transfer,
    match,
    offload,
    register,
    release,
)
from support.chained_keys import prefix
from support.desks import desk_of, put, spec


def found(desk, keys):
    hits = match(desk, "look", keys, hold=False)
    return sum(len(hit.slots) for hit in hits)


def evicted_keys(events):
    return [
        event.keys[i : i + 32] for event in events if isinstance(event, Evicted) for i in range(0, len(event.keys), 32)
    ]


def test_the_end_of_the_prefix_used_longest_ago_goes_first():
    desk, events = desk_of(spec("g1", 8))
    put(desk, prefix([1] * 4))
    put(desk, prefix([2] * 4))
    match(desk, "again", prefix([1] * 4), hold=False)
    allocate(desk, "g1", "new", 2)
    assert evicted_keys(events) == prefix([2] * 4)[2:]


def test_a_use_of_a_block_is_a_use_of_all_before_it():
    desk, events = desk_of(spec("g1", 6))
    put(desk, prefix([1, 1, 1]))
    put(desk, prefix([2, 2, 2]))
    match(desk, "short", prefix([1, 1]), hold=False)
    allocate(desk, "g1", "new", 5)
    # the tail that the look-up did not reach, then the other prompt, then the end of what was used last
    assert evicted_keys(events) == [*prefix([1, 1, 1])[2:], *prefix([2, 2, 2]), *prefix([1, 1])[1:]]


def test_a_parent_goes_after_its_last_child():
    desk, events = desk_of(spec("g1", 6))
    put(desk, prefix([1, 1]))
    put(desk, prefix([1, 1, 2, 2])[2:], parent=prefix([1, 1])[-1])
    put(desk, prefix([1, 1, 3, 3])[2:], parent=prefix([1, 1])[-1])
    allocate(desk, "g1", "new", 6)
    order = evicted_keys(events)
    for path in ([1, 1, 2, 2], [1, 1, 3, 3]):
        keys = prefix(path)
        assert order.index(keys[1]) > order.index(keys[2])
    assert check_integrity(desk.state) == []


def test_holding_the_deepest_block_holds_the_whole_prefix_and_nothing_more():
    desk, _ = desk_of(spec("g1", 8))
    put(desk, prefix([1] * 8))
    match(desk, "holder", prefix([1] * 5))
    assert len(allocate(desk, "g1", "new", 3)) == 3
    with pytest.raises(TierFull, match="0 of 8 slots are free, 0 more"):
        allocate(desk, "g1", "more", 1)
    release(desk, "holder")
    assert len(allocate(desk, "g1", "more", 5)) == 5


def test_a_hold_moves_on_to_the_blocks_that_are_registered_behind_it():
    desk, _ = desk_of(spec("g1", 8))
    keys = prefix([1] * 6)
    put(desk, keys[:3], "a", keep=True)
    register(desk, "g1", "a", allocate(desk, "g1", "a", 3), keys[3:], keys[2])
    tier = desk.state.tiers["g1"]
    assert [tier.lineage.key_of(slot) for slot in desk.state.requests["a"].pins["g1"]] == [keys[5]]
    release(desk, "a")
    assert check_integrity(desk.state) == []


def test_a_transfer_may_go_along_a_branch():
    desk, events = desk_of(spec("g1", 16), spec("g2", 16))
    put(desk, prefix([1, 1, 1, 1]))
    put(desk, prefix([1, 1, 2, 2])[2:], parent=prefix([1, 1])[-1])
    started = offload(desk, "g1", "g2", prefix([1, 1, 2, 2]), deadline_us=9)
    complete_transfer(desk, started.transfer)
    assert found(desk, prefix([1, 1, 2, 2])) == 4
    assert sum(isinstance(event, OffloadStarted) for event in events) == 1
    assert check_integrity(desk.state) == []


def test_blocks_behind_one_that_did_not_arrive_wait_for_it_as_orphans():
    desk, _ = desk_of(spec("g1", 8), spec("g2", 8))
    keys = prefix([1] * 4)
    put(desk, keys)
    started = offload(desk, "g1", "g2", keys, deadline_us=9)
    slots = [slot for first, count in started.slots for slot in range(first, first + count)]
    fail_transfer(desk, started.transfer, reason="bad sector", slots=slots[1:2])
    complete_transfer(desk, started.transfer)
    evict(desk, "g1", keys, reason="operator", actor="test")
    assert found(desk, keys) == 1
    put(desk, keys[:2])
    again = offload(desk, "g1", "g2", keys[1:2], deadline_us=9)
    complete_transfer(desk, again.transfer)
    evict(desk, "g1", keys[:2], reason="operator", actor="test")
    assert found(desk, keys) == 4
    assert check_integrity(desk.state) == []


@pytest.mark.parametrize("reason", sorted(LOST))
def test_a_lost_block_cannot_be_matched_though_it_is_held_and_is_free_when_nobody_holds_it(reason):
    desk, _ = desk_of(spec("g1", 8))
    keys = prefix([1] * 6)
    put(desk, keys)
    match(desk, "holder", keys[:5])
    with pytest.raises(BlockHeld, match="in use"):
        evict(desk, "g1", keys[2:3], reason="operator", actor="test")
    assert evict(desk, "g1", keys[2:3], reason=reason, actor="test") == 4
    slots = desk.state.tiers["g1"].slots
    assert found(desk, keys) == 2
    assert (slots.count(SlotState.CONDEMNED), slots.count(SlotState.REGISTERED)) == (3, 2)
    put(desk, keys[2:5], "again", keys[1])  # computed again, into other slots
    assert found(desk, keys) == 5
    release(desk, "holder")
    assert slots.count(SlotState.CONDEMNED) == 0
    assert check_integrity(desk.state) == []


def test_a_transfer_in_doubt_lets_its_source_go():
    desk, _ = desk_of(spec("g1", 4), spec("g2", 4))
    put(desk, prefix([1, 1]))
    started = offload(desk, "g1", "g2", prefix([1, 1]), deadline_us=9)
    fail_transfer(desk, started.transfer, reason="x", slots=[0], stopped=False)
    with pytest.raises(BlockHeld):
        evict(desk, "g1", prefix([1, 1]), reason="operator", actor="test")
    fail_transfer(desk, started.transfer, reason="x", slots=[1], stopped=False)
    assert evict(desk, "g1", prefix([1, 1]), reason="operator", actor="test") == 2
    put(desk, prefix([2, 2, 2, 2]))
    assert desk.state.tiers["g2"].counts()["quarantined"] == 2
    fail_transfer(desk, started.transfer, reason="x")
    assert not desk.state.transfers
    assert desk.state.tiers["g2"].slots.free == 4
    assert check_integrity(desk.state) == []
