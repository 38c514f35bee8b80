"""An event that cannot have happened is refused by name and changes nothing, wherever in a history it stands."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from kvbm_events.schema import Allocated, Matched, Opened, Registered, Released, TierSpec
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine import POLICIES, State, check_integrity, digest, evolve
from kvbm_statemachine.decide import allocate, complete_transfer, fail_transfer, match, offload, register
from support.altered_events import altered, displaced, misplaced
from support.chained_keys import key_at, prefix
from support.desks import desk_of, put, spec
from support.history import PLANS, fold
from support.seeded_history import seeded_events

CASES = [(policy, plan) for plan in PLANS for policy in POLICIES]


def refuse(state: State, event, said=None):
    """Assert that the event is illegal, and that the state is as it was."""
    before = digest(state)
    with pytest.raises(IllegalTransition, match=said):
        evolve(state, event)
    assert digest(state) == before
    assert check_integrity(state) == []


def try_out(state: State, event) -> bool:
    """Whether the event is legal, applied to a copy; if it is not, assert what `refuse` does."""
    before = digest(state)
    try:
        evolve(state, event)
    except IllegalTransition:
        assert digest(state) == before
        return False
    assert check_integrity(state) == [], event
    return True


@pytest.mark.parametrize(("policy", "plan"), CASES)
def test_an_event_out_of_its_place_is_refused(policy, plan):
    events, state = seeded_events(policy, plan, 2, 60), State()
    for event in events:
        for wrong in misplaced(event):
            refuse(state, wrong)
        evolve(state, event)
        refuse(state, event)


@pytest.mark.parametrize(("policy", "plan"), CASES)
def test_a_changed_event_is_refused_or_leaves_a_whole_state(policy, plan):
    events, refused = seeded_events(policy, plan, 3, 60), 0
    state = State()
    for at, event in enumerate(events):
        for wrong in altered(event):
            if try_out(state, wrong):
                state = fold(events[:at])
            else:
                refused += 1
        evolve(state, event)
    assert refused > len(events)


@pytest.mark.parametrize(("policy", "plan"), CASES)
def test_an_event_of_another_state_is_refused_or_leaves_a_whole_state(policy, plan):
    events, chance, refused = seeded_events(policy, plan, 4, 60), Random(4), 0
    state = State()
    for at, event in enumerate(events):
        for other in chance.sample(events, min(len(events), 8)):
            if try_out(state, displaced(other, state)):
                state = fold(events[:at])
            else:
                refused += 1
        evolve(state, event)
    assert refused > len(events)


def next_to(state: State) -> dict[str, int]:
    """The head of the next event."""
    return {"epoch": state.epoch, "n": state.n + 1, "at_us": 1}


@pytest.mark.parametrize("cls", [Allocated, Matched, Released])
def test_nothing_happens_before_the_first_opening(cls):
    more = {"tier": "g1", "slots": [(0, 1)]} if cls is Allocated else {"asked": 1} if cls is Matched else {}
    refuse(State(), cls(**next_to(State()), request="r", **more), "0.0: nothing is open")


def opened(**changes):
    event = Opened(epoch=2, n=0, at_us=1, namespace="n=1", owner="o", tiers=[spec("g1", 8), spec("g2", 8)])
    return replace(event, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epoch": 1}, "epoch 1 is the last one known"),
        ({"n": 1}, "epoch 1 is the last one known"),
        ({"tiers": []}, "not each once and fastest first"),
        ({"tiers": [spec("g1", 8), spec("g1", 8)]}, "not each once and fastest first"),
        ({"tiers": [spec("g2", 8), spec("g1", 8)]}, "not each once and fastest first"),
        ({"tiers": [spec("g1", 0)]}, "cannot be"),
        ({"tiers": [spec("g1", (1 << 26) + 1)]}, "cannot be"),
        ({"tiers": [spec("g1", 8, policy="clairvoyant")]}, "cannot be"),
        ({"tiers": [spec("g1", 8, seen_min=0)]}, "cannot be"),
        ({"kept": ["g3"]}, "the tier is not in both epochs"),
        ({"kept": ["g1"], "namespace": "n=2"}, "its blocks are of namespace 'n=1', not 'n=2'"),
        ({"kept": ["g1"], "tiers": [spec("g1", 9)]}, "it was owned with 8 slots, not owned with 9"),
        ({"kept": ["g1"], "tiers": [spec("g1", 8, control="observed")]}, "not observed with 8"),
    ],
)
def test_an_opening_that_cannot_be(changes, said):
    desk, _ = desk_of(spec("g1", 8), spec("g2", 8))
    put(desk, prefix([1, 1]))
    refuse(desk.state, opened(**changes), said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tier": "g3"}, "no tier 'g3'"),
        ({"request": "nobody"}, "no request 'nobody'"),
        ({"slots": [(2, 2)]}, "slot 2 of g1: it is not allocated to request .r."),
        ({"slots": [(5, 1)]}, "it is free, not allocated"),
        ({"slots": [(2, 1)]}, "not allocated to request"),
        ({"keys": ""}, "one each, none twice"),
        ({"keys": key_at(7) * 2, "slots": [(3, 2)]}, "one each, none twice"),
        ({"keys": key_at(1)}, "is registered again in g1"),
        ({"existing": [(0, 0)]}, "it does not"),
        ({"existing": [(1, 0)]}, "it does not"),
        ({"keys": key_at(1), "existing": [(0, 0)], "parent": key_at(4)}, "its parent in g1 is another one"),
        ({"parent": key_at(7)}, "its own ancestor"),
    ],
)
def test_a_registration_that_cannot_be(changes, said):
    desk, _ = desk_of(spec("g1", 8))
    put(desk, prefix([1, 1]), keep=True)
    allocate(desk, "g1", "other", 1)
    allocate(desk, "g1", "r", 2)
    event = Registered(**next_to(desk.state), tier="g1", request="r", slots=[(3, 1)], keys=key_at(7))
    refuse(desk.state, replace(event, **changes), said)
    evolve(desk.state, event)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tier": "g3"}, "no tier 'g3'"),
        ({"source": "g3"}, "no tier 'g3'"),
        ({"source": "g2"}, "it is free, not registered"),
        ({"tier": "g1"}, "it is registered, not free"),
        ({"tier": "g1", "slots": [(4, 3)]}, "goes to another tier"),
        ({"transfer": "1.99"}, "its id is the epoch and number of its first event"),
        ({"source_slots": [(0, 2)]}, "do not hold its keys"),
        ({"source_slots": [(1, 1), (0, 1), (2, 1)]}, "do not hold its keys"),
        ({"slots": [(0, 2)]}, "not one destination slot for each key"),
        ({"parent": key_at(5)}, "its first block has another parent"),
        ({"checksums": "a" * 48}, "not those with which its source blocks came"),
        ({"keys": ""}, "do not hold its keys"),
    ],
)
def test_a_transfer_that_cannot_start(changes, said):
    desk, events = desk_of(spec("g1", 8), spec("g2", 8))
    put(desk, prefix([1, 1, 1]))
    before = fold_of(desk, events)
    started = offload(desk, "g1", "g2", prefix([1, 1, 1]), deadline_us=9)
    refuse(before, replace(started, **changes), said)
    refuse(desk.state, displaced(replace(started, slots=[(3, 3)]), desk.state), "under way there already")


def fold_of(desk, events):
    """A second state that has seen what the desk's has."""
    copy, _ = desk_of(*(tier.spec for tier in desk.state.tiers.values()))
    for event in events:
        evolve(copy.state, event)
    return copy.state


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transfer": "1.99"}, "no transfer '1.99'"),
        ({"tier": "g1"}, "it goes to g2"),
        ({"slots": []}, "names no slot"),
        ({"slots": [(0, 1), (0, 1)]}, "or one twice"),
        ({"slots": [(0, 9)]}, "names no slot, or one twice"),
        ({"slots": [(-1, 1)]}, "names no slot"),
        ({"slots": [(-1024, 2)]}, "names no slot"),
        ({"slots": [(4, 1)]}, "it is not under way"),
    ],
)
@pytest.mark.parametrize("ending", ["completed", "failed", "doubtful"])
def test_a_transfer_that_cannot_end(changes, said, ending):
    desk, events = desk_of(spec("g1", 8), spec("g2", 8))
    put(desk, prefix([1, 1, 1]))
    started = offload(desk, "g1", "g2", prefix([1, 1, 1]), deadline_us=9)
    before = fold_of(desk, events)
    if ending == "completed":
        event = complete_transfer(desk, started.transfer)
    else:
        event = fail_transfer(desk, started.transfer, reason="x", stopped=ending == "failed")
    refuse(before, replace(event, **changes), said)
    refuse(desk.state, displaced(event, desk.state))


def test_a_look_up_of_what_is_not_there():
    desk, events = desk_of(spec("g1", 8), spec("g2", 8))
    put(desk, prefix([1, 1]))
    before = fold_of(desk, events)
    match(desk, "r", prefix([1, 1]))
    found = events[-1].found
    for part in (replace(found[0], last=key_at(9)), replace(found[0], tier="g2")):
        refuse(before, replace(events[-1], found=[part]), "it is not registered there")
    refuse(before, replace(events[-1], found=[replace(found[0], tier="g3")]), "no tier 'g3'")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"request": "nobody"}, "no request 'nobody'"),
        ({"tier": "g3", "slots": [(0, 1)]}, "no tier 'g3'"),
        ({"tier": "g1", "slots": [(0, 1)]}, "it is registered, not allocated"),
        ({"tier": "g1", "slots": [(2, 2)]}, "it is not allocated to request 'r'"),
        ({"tier": "g1", "slots": [(2, 1), (2, 1)]}, "twice"),
    ],
)
def test_a_release_of_what_is_not_held(changes, said):
    desk, _ = desk_of(spec("g1", 8))
    put(desk, prefix([1, 1]), keep=True)
    allocate(desk, "g1", "r", 1)
    allocate(desk, "g1", "other", 1)
    refuse(desk.state, Released(**next_to(desk.state), **{"request": "r", **changes}), said)


def test_an_eviction_says_which_block_was_in_the_slot():
    desk, events = desk_of(TierSpec(tier="g1", capacity=4))
    put(desk, prefix([1, 1]))
    put(desk, prefix([2, 2]))
    before = fold_of(desk, events)
    allocate(desk, "g1", "new", 1)
    event = events[-2]
    for keys, said in (
        (key_at(9), "its keys are not those of its slots"),
        ("", "its keys are not"),
        (event.keys * 2, "more keys than slots"),
    ):
        refuse(before, replace(event, keys=keys), said)
    refuse(before, replace(event, slots=[(0, 1)], keys=key_at(1)), "a child, a request or a transfer holds a block")
    match(desk, "holder", prefix([2, 2]))
    refuse(desk.state, displaced(replace(event, slots=[(3, 1)], keys=key_at(2, 2)), desk.state), "holds a block")


def test_a_key_that_exists_must_be_named_as_such():
    desk, events = desk_of(spec("g1", 8))
    put(desk, prefix([1]))
    slots = allocate(desk, "g1", "r", 2)
    before = fold_of(desk, events)
    register(desk, "g1", "r", slots, prefix([1, 1]))
    assert events[-1].existing == [(0, 0)]
    refuse(before, replace(events[-1], existing=[]), "is registered again in g1")
    refuse(before, replace(events[-1], existing=[(0, 0), (0, 0)]), "one is named twice")
