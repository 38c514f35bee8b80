"""Memory that goes while somebody still speaks of it: tiers that start empty, contents that are others, slots in doubt."""

from __future__ import annotations

from typing import Any

import pytest

from kvbm_events.schema import (
    MAX_BLOCKS,
    Attached,
    Contents,
    Evicted,
    OffloadFailed,
    TierName,
    TransferFailed,
    to_slots,
    unpack_keys,
)
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand
from kvbm_statemachine import SlotState, check_integrity, digest, evolve, from_bytes, to_bytes
from kvbm_statemachine.decide import (
    allocate,
    attach,
    complete_transfer,
    fail_transfer,
    free_quarantined,
    match,
    offload,
    onboard,
    plan_opening,
    register,
    release,
)
from kvbm_statemachine.decide.desk import Desk
from support.chained_keys import key_at, prefix
from support.desks import desk_of, put, spec

KEYS = prefix([1, 1, 1])


def reopen(desk: Desk, keep: list[TierName], **tiers: Any) -> None:
    """The next epoch, in which these tiers keep their blocks."""
    capacities = {"g1": 8, "g2": 8} | tiers
    specs = [spec(tier, capacity) for tier, capacity in capacities.items() if capacity]
    state = desk.state
    event = plan_opening(state, namespace="n=1", owner="o", tiers=specs, keep=keep, requests="dropped", now_us=1)
    evolve(state, event)


def under_way():
    """Three blocks on their way from g1 to slots 0 to 2 of g2; the second one has arrived, the third is in doubt."""
    desk, events = desk_of(spec("g1", 8), spec("g2", 8))
    put(desk, KEYS)
    started = offload(desk, "g1", "g2", KEYS, deadline_us=9)
    complete_transfer(desk, started.transfer, slots=[1])
    fail_transfer(desk, started.transfer, slots=[2], reason="x", stopped=False)
    return desk, events, started.transfer


def states(desk: Desk, tier: TierName) -> list[str]:
    return [SlotState(state).name.lower() for state in desk.state.tiers[tier].slots.states]


def test_slots_to_which_a_worker_may_still_write_are_given_to_nobody_though_their_tier_starts_empty():
    desk, _, transfer = under_way()
    reopen(desk, ["g1"])
    assert states(desk, "g2")[:4] == ["quarantined", "free", "quarantined", "free"]
    assert check_integrity(desk.state) == []
    assert digest(from_bytes(to_bytes(desk.state))) == digest(desk.state)
    assert set(allocate(desk, "g2", "r", 6)).isdisjoint([0, 2])
    with pytest.raises(InvalidCommand, match="none is named"):
        complete_transfer(desk, transfer)
    fail_transfer(desk, transfer, reason="the mover has stopped")
    assert states(desk, "g2")[0] == states(desk, "g2")[2] == "free"
    assert desk.state.transfers == {}


def test_what_is_in_doubt_holds_no_source():
    desk, _, _ = under_way()
    reopen(desk, ["g1"])
    assert allocate(desk, "g1", "r", 8), "all of g1 can be evicted"


def test_slots_that_the_tier_does_not_have_any_more_are_forgotten():
    desk, _, transfer = under_way()
    reopen(desk, ["g1"], g2=2)
    assert states(desk, "g2") == ["quarantined", "free"]
    reopen(desk, ["g1"], g2=0)
    assert transfer not in desk.state.transfers
    assert check_integrity(desk.state) == []


def test_quarantine_lasts_over_one_reset_after_the_other():
    desk, _, transfer = under_way()
    for _ in range(3):
        reopen(desk, [])
        assert states(desk, "g2").count("quarantined") == 2
    fail_transfer(desk, transfer, reason="x")
    assert states(desk, "g2").count("free") == 8


def told(tier: TierName = "g2", name: str = "x", why: str = "") -> list[Contents]:
    return [Contents(tier=tier, name=name, why=why)]


def below():
    """Three blocks in g2 of contents x."""
    desk, events = desk_of(spec("g1", 8), spec("g2", 1024))
    attach(desk, rank=0, holder="w1", contents=told())
    register(desk, "g2", "r", allocate(desk, "g2", "r", 3), KEYS)
    release(desk, "r")
    events.clear()
    return desk, events


def test_memory_with_the_contents_of_before_changes_nothing():
    desk, events = below()
    assert attach(desk, rank=0, holder="w2", contents=told()) == {}
    assert events == []


def test_memory_with_other_contents_has_its_blocks_evicted_by_name():
    desk, events = below()
    assert attach(desk, rank=0, holder="w2", contents=told(name="y", why="it is new")) == {"g2": 3}
    gone, attached = events
    assert isinstance(gone, Evicted)
    assert (gone.reason, gone.actor) == ("reset", "w2, rank 0")
    assert sorted(unpack_keys(gone.keys)) == sorted(KEYS)
    assert isinstance(attached, Attached)
    assert (attached.rank, attached.holder, attached.contents) == (0, "w2", told(name="y", why="it is new"))
    assert match(desk, "r", KEYS) == []
    assert check_integrity(desk.state) == []


def test_one_ranks_loss_is_the_blocks_loss():
    desk, events = below()
    assert attach(desk, rank=1, holder="v1", contents=told()) == {}
    assert attach(desk, rank=1, holder="v2", contents=told(name="y")) == {"g2": 3}
    assert attach(desk, rank=0, holder="w1", contents=told()) == {}
    assert [type(event) for event in events] == [Attached, Evicted, Attached]


def test_blocks_of_which_no_rank_has_told_are_believed_to_be_there():
    desk, events = desk_of(spec("g1", 8))
    put(desk, KEYS)
    events.clear()
    assert attach(desk, rank=0, holder="w", contents=told("g1")) == {}
    assert [type(event) for event in events] == [Attached]
    assert len(match(desk, "r", KEYS)) == 1


def test_many_blocks_go_in_several_events_and_held_ones_are_condemned():
    desk, events = below()
    keys = prefix([2, *range(2 * MAX_BLOCKS - 100)])
    for at in range(0, len(keys), 100):
        parent = keys[at - 1] if at else ""
        register(
            desk, "g2", "long", allocate(desk, "g2", "long", len(keys[at : at + 100])), keys[at : at + 100], parent
        )
    release(desk, "long")
    match(desk, "holder", keys[:5])
    events.clear()
    attach(desk, rank=0, holder="w2", contents=told(name="y"))
    sizes = [len(to_slots(event.slots)) for event in events if isinstance(event, Evicted)]
    assert sum(sizes) == len(keys) + 3
    assert max(sizes) <= MAX_BLOCKS
    assert states(desk, "g2").count("condemned") == 5
    assert match(desk, "r", keys) == []
    release(desk, "holder")
    assert states(desk, "g2").count("free") == 1024
    assert check_integrity(desk.state) == []


def test_what_was_under_way_from_or_to_memory_that_was_reset_has_failed():
    desk, events = desk_of(spec("g1", 8), spec("g2", 8), spec("g3", 8))
    attach(desk, rank=0, holder="w1", contents=told() + told("g1"))
    put(desk, KEYS)
    other = prefix([3, 3])
    register(desk, "g3", "r", allocate(desk, "g3", "r", 2), other)
    up = onboard(desk, "g3", "g2", other, request="r", deadline_us=9)
    down = offload(desk, "g1", "g3", KEYS, deadline_us=9)
    away = offload(desk, "g1", "g2", KEYS, deadline_us=9)
    events.clear()
    attach(desk, rank=0, holder="w2", contents=told(name="y") + told("g1"))
    failed = {event.transfer: event for event in events if isinstance(event, TransferFailed)}
    assert failed.keys() == {up.transfer, away.transfer}
    assert {(event.reason, event.stopped) for event in failed.values()} == {("g2 of rank 0 was reset", False)}
    assert states(desk, "g2").count("quarantined") == 5
    complete_transfer(desk, down.transfer)
    attach(desk, rank=0, holder="w3", contents=told(name="y") + told("g1", "z"))
    assert states(desk, "g1").count("free") == 8
    assert check_integrity(desk.state) == []


def test_an_engines_own_tier_and_one_that_the_instance_has_not_are_passed_over():
    desk, _ = desk_of(spec("g1", 4, control="observed"))
    register(desk, "g1", "r", allocate(desk, "g1", "r", 3, at=[0, 1, 2]), KEYS)
    attach(desk, rank=0, holder="w", contents=told("g1") + told("g3"))
    attach(desk, rank=0, holder="w", contents=told("g1", "y"))
    assert len(desk.state.tiers["g1"].lineage.index) == 3
    assert desk.state.tiers["g1"].contents == {0: "y"}


def test_other_contents_under_registered_blocks_are_no_legal_event():
    desk, _ = below()
    head = {"epoch": 1, "n": desk.state.n + 1, "at_us": 1}
    before = digest(desk.state)
    for wrong in (
        Attached(**head, rank=0, holder="w", contents=told(name="y")),
        Attached(**head, rank=-1, holder="w", contents=told()),
        Attached(**head, rank=1, holder="w", contents=told() + told()),
        Attached(**head, rank=0, holder="w", contents=told("g4")),
    ):
        with pytest.raises(IllegalTransition):
            evolve(desk.state, wrong)
    assert digest(desk.state) == before


def test_contents_are_kept_with_their_blocks_and_go_with_them():
    desk, _ = below()
    reopen(desk, ["g2"], g2=1024)
    assert from_bytes(to_bytes(desk.state)).tiers["g2"].contents == {0: "x"}
    reopen(desk, [])
    assert desk.state.tiers["g2"].contents == {}


def test_an_operator_frees_what_no_mover_will_and_the_event_says_so():
    desk, events, transfer = under_way()
    events.clear()
    assert free_quarantined(desk, ["g1"], actor="operator ann") == 0
    assert free_quarantined(desk, ["g1", "g2"], actor="operator ann") == 1
    (event,) = events
    assert isinstance(event, OffloadFailed)
    assert (event.transfer, event.slots, event.stopped) == (transfer, [(2, 1)], True)
    assert (event.actor, event.reason) == ("operator ann", "freed by an operator")
    assert states(desk, "g2")[:3] == ["allocated", "registered", "free"]
    complete_transfer(desk, transfer)
    assert check_integrity(desk.state) == []
    assert key_at(1) in desk.state.tiers["g2"].lineage.index
