"""Every refusal by its name, with its reason; a refused command changes nothing and makes no event."""

from __future__ import annotations

import re
from functools import partial

import pytest

from kvbm_events.codec import decode, encode
from kvbm_events.schema import KEY_DIGITS, MAX_BLOCKS, MAX_CAPACITY, Evicted, Registered
from kvbm_events.schema.errors import (
    BlockHeld,
    InvalidCommand,
    NamespaceMismatch,
    RefusedError,
    TierFull,
    TooManyRequests,
    UnknownRequest,
    UnknownTier,
    UnknownTransfer,
)
from kvbm_statemachine import State, check_integrity, digest, evolve
from kvbm_statemachine.decide import (
    allocate,
    complete_transfer,
    evict,
    fail_transfer,
    match,
    offload,
    onboard,
    plan_opening,
    register,
    release,
)
from kvbm_statemachine.decide.desk import MAX_NAME
from kvbm_statemachine.decide.lookup import MAX_LOOKUP
from kvbm_statemachine.state import MAX_REQUESTS
from support.chained_keys import key_at, keys_of, prefix
from support.desks import desk_of, put, spec, start_all

KEYS = prefix([1, 1])
"""Held by r, in slots 0 and 1 of g1; on their way to slots 0 and 1 of g2, by transfer 1.3."""
NEW = key_at(7)
R_OWN, OTHERS, FREE = 2, 3, 4
"""Slots of g1: allocated to r, allocated to another request, free."""
COLD = prefix([5, 5])
"""In g2, held by nobody."""
WARM = prefix([6, 6])
"""In g1, in slots 8 and 9, held by a third request."""


def scene():
    desk, events = desk_of(spec("g1", 10), spec("g2", 8))
    put(desk, KEYS, keep=True)
    offload(desk, "g1", "g2", KEYS, deadline_us=9)
    allocate(desk, "g1", "r", 1)
    allocate(desk, "g1", "other", 1)
    register(desk, "g1", "third", allocate(desk, "g1", "third", 2, at=[8, 9]), WARM)
    register(desk, "g2", "cold", allocate(desk, "g2", "cold", 2), COLD)
    release(desk, "cold")
    return desk, events


def refuse(desk, events, command, error, said):
    before, count = digest(desk.state), len(events)
    with pytest.raises(error, match=said) as refusal:
        command(desk)
    assert type(refusal.value) is error
    assert issubclass(error, RefusedError)
    assert (digest(desk.state), len(events)) == (before, count)
    assert check_integrity(desk.state) == []


def to(tier="g1", request="r", count=1, **more):
    return partial(allocate, tier=tier, request=request, count=count, **more)


def filled(slots=(R_OWN,), keys=(NEW,), parent="", *, tier="g1", request="r"):
    return partial(register, tier=tier, request=request, slots=slots, keys=keys, parent=parent)


def asked(request="r", keys=(NEW,), **more):
    return partial(match, request=request, keys=keys, **more)


def gone(keys, tier="g1", reason="operator"):
    return partial(evict, tier=tier, keys=keys, reason=reason, actor="test")


def down(source="g1", tier="g2", keys=WARM, **more):
    return partial(offload, source=source, tier=tier, keys=keys, deadline_us=9, **more)


def up(source="g2", tier="g1", keys=COLD, request="r", **more):
    return partial(onboard, source=source, tier=tier, keys=keys, request=request, deadline_us=9, **more)


def arrived(transfer="1.3", **more):
    return partial(complete_transfer, transfer_id=transfer, **more)


def lost(transfer="1.3", **more):
    return partial(fail_transfer, transfer_id=transfer, reason="x", **more)


REFUSALS = [
    (to(tier="g3"), UnknownTier, "no tier 'g3': it was opened with g1, g2"),
    (to(count=0), InvalidCommand, "at least one"),
    (to(count=-1), InvalidCommand, "at least one"),
    (to(count=2, at=[FREE]), InvalidCommand, "as many as are named"),
    (to(count=1, at=[OTHERS]), InvalidCommand, "slot 3: it is allocated, not free"),
    (to(count=1, at=[0]), InvalidCommand, "slot 0: it is registered, not free"),
    (to(count=1, at=[10]), InvalidCommand, "the tier has 10 slots"),
    (to(count=2, at=[FREE, FREE]), InvalidCommand, "names it twice"),
    (to(request=""), InvalidCommand, f"1 to {MAX_NAME} characters"),
    (to(request="x" * (MAX_NAME + 1)), InvalidCommand, f"1 to {MAX_NAME} characters"),
    (to(request="\ud800"), InvalidCommand, "that UTF-8 can write"),
    (to(priority=-1), InvalidCommand, "priorities go from 0 to 100"),
    (to(priority=101), InvalidCommand, "priorities go from 0 to 100"),
    (to(count=5), TierFull, "no room for 5 blocks: 4 of 10 slots are free, 0 more can be evicted.*Try: release"),
    (to(tier="g2", count=7), TierFull, "no room for 7 blocks: 4 of 8 slots are free, 2 more can be evicted"),
    (filled(tier="g3"), UnknownTier, "no tier 'g3'"),
    (filled(request="nobody"), UnknownRequest, "no request 'nobody' is open.*Try: match or allocate first"),
    (filled(keys=(NEW.upper(),)), InvalidCommand, "is not a block key: a key is 32 lower-case hex digits"),
    (filled(keys=(NEW[1:],)), InvalidCommand, "is not a block key"),
    (filled(slots=(R_OWN, FREE), keys=(NEW[1:], NEW + "0")), InvalidCommand, "is not a block key"),
    (filled(parent="root"), InvalidCommand, "'root' is not a block key"),
    (filled(keys=()), InvalidCommand, "one key a slot, and at least one"),
    (filled(slots=(), keys=()), InvalidCommand, "one key a slot, and at least one"),
    (filled(keys=(NEW, key_at(8))), InvalidCommand, "2 keys for 1 slots"),
    (filled(slots=(OTHERS,)), InvalidCommand, "not allocated to request 'r'"),
    (filled(slots=(FREE,)), InvalidCommand, "slot 4: it is free, not allocated"),
    (filled(slots=(0,)), InvalidCommand, "slot 0: it is registered, not allocated"),
    (filled(slots=(99,)), InvalidCommand, "the tier has 10 slots"),
    (filled(slots=(R_OWN, R_OWN), keys=(NEW, key_at(8))), InvalidCommand, "names it twice"),
    (filled(keys=(KEYS[1],), parent=NEW), InvalidCommand, "its parent in g1 is another one"),
    (filled(parent=NEW), InvalidCommand, "its own ancestor"),
    (asked(request=""), InvalidCommand, "cannot name a request"),
    (asked(priority=101), InvalidCommand, "priorities go from 0 to 100"),
    (asked(keys=(*KEYS, "zz")), InvalidCommand, "'zz' is not a block key"),
    (asked(keys=keys_of(MAX_LOOKUP + 1)), InvalidCommand, f"{MAX_LOOKUP + 1} keys: {MAX_LOOKUP} is the most"),
    (partial(release, request="nobody"), UnknownRequest, "no request 'nobody' is open"),
    (partial(release, request="r", tier="g3"), UnknownTier, "no tier 'g3'"),
    (partial(release, request="r", slots=[R_OWN]), InvalidCommand, "no tier is named.*Try: name the tier"),
    (partial(release, request="r", tier="g1", slots=[OTHERS]), InvalidCommand, "not allocated to request 'r'"),
    (partial(release, request="r", tier="g1", slots=[0]), InvalidCommand, "it is registered, not allocated"),
    (partial(release, request="r", tier="g1", slots=[10]), InvalidCommand, "the tier has 10 slots"),
    (gone(KEYS, tier="g3"), UnknownTier, "no tier 'g3'"),
    (gone(["zz"]), InvalidCommand, "'zz' is not a block key"),
    (gone(KEYS, reason="capacity"), InvalidCommand, "only an allocation decides that.*Try: use operator"),
    (gone(KEYS), BlockHeld, f"block {KEYS[1]} of g1 is in use.*Try: release the request first"),
    (gone(KEYS[:1]), BlockHeld, "is in use"),
    (down(source="g3"), UnknownTier, "no tier 'g3'"),
    (down(tier="g3"), UnknownTier, "no tier 'g3'"),
    (down(tier="g1"), InvalidCommand, "offload from g1 to g1: that is no slower tier"),
    (down(source="g2", tier="g1", keys=COLD), InvalidCommand, "offload from g2 to g1: that is no slower tier"),
    (down(keys=["zz"]), InvalidCommand, "'zz' is not a block key"),
    (down(keys=()), InvalidCommand, f"0 blocks: it has 1 to {MAX_BLOCKS}"),
    (down(keys=keys_of(MAX_BLOCKS + 1)), InvalidCommand, f"{MAX_BLOCKS + 1} blocks: it has 1 to {MAX_BLOCKS}"),
    (down(keys=[NEW]), InvalidCommand, "they are no path there.*Try: see next_batch"),
    (down(keys=WARM[::-1]), InvalidCommand, "they are no path there"),
    (down(keys=WARM[:1] * 2), InvalidCommand, "they are no path there"),
    (down(keys=KEYS), InvalidCommand, "one is there, or on its way, already"),
    (down(priority=101), InvalidCommand, "priorities go from 0 to 100"),
    (up(source="g3"), UnknownTier, "no tier 'g3'"),
    (up(tier="g3"), UnknownTier, "no tier 'g3'"),
    (up(tier="g2"), InvalidCommand, "onboard from g2 to g2: that is no faster tier"),
    (up(source="g1", tier="g2", keys=WARM), InvalidCommand, "onboard from g1 to g2: that is no faster tier"),
    (up(request="nobody"), UnknownRequest, "no request 'nobody' is open"),
    (up(keys=["zz"]), InvalidCommand, "'zz' is not a block key"),
    (up(at=[6, 7]), InvalidCommand, "nobody does in a tier that we own"),
    *(
        case
        for end in (arrived, lost)
        for case in [
            (end("1.99"), UnknownTransfer, "no transfer '1.99' is open.*Try: a late or second report can be dropped"),
            (end(slots=[]), InvalidCommand, "none is named"),
            (end(slots=[0, 0]), InvalidCommand, "or one twice"),
            (end(slots=[0, 2]), InvalidCommand, "or one not under way"),
            (end(slots=[-1]), InvalidCommand, "or one not under way"),
        ]
    ),
    (arrived(length_bytes=-1), InvalidCommand, "a length is not negative"),
    (arrived(checksums="0" * 31), InvalidCommand, "31 digits of checksums for 2 blocks"),
]


@pytest.mark.parametrize(
    ("command", "error", "said"),
    REFUSALS,
    ids=lambda value: value.func.__name__ if isinstance(value, partial) else None,
)
def test_a_refusal_has_its_name_and_changes_nothing(command, error, said):
    refuse(*scene(), command, error, said)


def test_the_scene_allows_what_is_not_refused():
    """Each command of the table in a form that is right: so that the refusals are for the reasons that they give."""
    desk, events = scene()
    rights = [
        to(), to(count=1, at=[FREE + 1]), filled(), asked(), down(), up(), arrived(slots=[0], checksums="0" * 16),
        lost(), partial(release, request="r", tier="g1"), partial(release, request="r"), gone(KEYS),
    ]  # fmt: skip
    for command in rights:
        command(desk)
        assert check_integrity(desk.state) == []
    assert {type(decode(encode(event))) for event in events} == {type(event) for event in events}


def test_an_eviction_waits_for_a_transfer_and_not_for_its_quarantine():
    desk, events = scene()
    release(desk, "r")
    refuse(desk, events, gone(KEYS), BlockHeld, "is in use")
    fail_transfer(desk, "1.3", reason="x", stopped=False)
    refuse(desk, events, arrived(), InvalidCommand, "none is named")
    refuse(desk, events, lost(stopped=False), InvalidCommand, "none is named")
    assert evict(desk, "g1", KEYS, reason="operator", actor="test") == 2
    fail_transfer(desk, "1.3", reason="x")
    refuse(desk, events, lost(), UnknownTransfer, "is open")


def test_a_transfer_that_does_not_fit_starts_nothing():
    desk, events = scene()
    allocate(desk, "g1", "other", 3)
    refuse(desk, events, up(), TierFull, "no room for 2 blocks: 1 of 10 slots are free")
    allocate(desk, "g2", "other", 5)
    refuse(desk, events, down(), TierFull, "no room for 2 blocks: 0 of 8 slots are free, 1 more")


def test_what_comes_up_to_an_observed_tier_comes_to_the_slots_that_its_engine_names():
    desk, events = desk_of(spec("g1", 6, control="observed"), spec("g2", 8))
    register(desk, "g2", "cold", allocate(desk, "g2", "cold", 2), COLD)
    allocate(desk, "g1", "r", 1, at=[0])
    for at, said in [
        (None, "2 blocks for any slots of g1: an observed tier's engine names a slot for each block"),
        ([3], "2 blocks for 1 slots"),
        ([0, 3], "slot 0: it is allocated, not free"),
        ([3, 3], "names it twice"),
        ([5, 6], "the tier has 6 slots"),
    ]:
        refuse(desk, events, up(at=at), InvalidCommand, said)
    started = onboard(desk, "g2", "g1", COLD, request="r", deadline_us=9, at=[4, 2])
    complete_transfer(desk, started.transfer)
    assert [desk.state.tiers["g1"].lineage.index[key] for key in COLD] == [4, 2]
    assert check_integrity(desk.state) == []


def test_an_observed_tier_evicts_nothing_of_its_own():
    desk, events = desk_of(spec("g1", 4, control="observed"))
    register(desk, "g1", "r", allocate(desk, "g1", "r", 2, at=[1, 3]), KEYS)
    release(desk, "r")
    refuse(desk, events, to(count=3), TierFull, "2 of 4 slots are free, 0 more can be evicted")
    refuse(desk, events, to(at=[3]), InvalidCommand, "it is registered, not free")
    assert evict(desk, "g1", KEYS[:1], reason="capacity", actor="engine") == 1


def planned(state, **changes):
    plan = {"namespace": "model=a;dtype=b", "owner": "o", "tiers": [spec("g1", 8)], "keep": ["g1"], "requests": "kept"}
    return plan_opening(state, **plan, now_us=1) if not changes else plan_opening(state, **(plan | changes), now_us=1)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"tiers": []}, InvalidCommand, "each tier once, fastest first.*Try: order them g1 to g4"),
        ({"tiers": [spec("g1", 8), spec("g1", 8)]}, InvalidCommand, "each tier once"),
        ({"tiers": [spec("g2", 8), spec("g1", 8)]}, InvalidCommand, "fastest first"),
        ({"tiers": [spec("g1", 0)]}, InvalidCommand, f"a tier has 1 to {MAX_CAPACITY}"),
        ({"tiers": [spec("g1", MAX_CAPACITY + 1)]}, InvalidCommand, f"a tier has 1 to {MAX_CAPACITY}"),
        (
            {"tiers": [spec("g1", 8, policy="opt")]},
            InvalidCommand,
            "policy 'opt' of g1. Try: choose one of lineage-lru",
        ),
        ({"tiers": [spec("g1", 8, seen_min=0)]}, InvalidCommand, "seen at least once"),
        ({"tiers": [spec("g1", 8, priority_min=101)]}, InvalidCommand, "priorities go from 0 to 100"),
        (
            {"tiers": [spec("g1", 8, priority_min=9, admission="on_evict")]},
            InvalidCommand,
            "priority_min 9 of g1 with on_evict.*Try: use write_through or selective",
        ),
        ({"namespace": "model=a;dtype=c"}, NamespaceMismatch, "dtype was 'b' and is 'c'.*Try: open without keeping"),
        ({"namespace": "model=a;layout=c"}, NamespaceMismatch, "'dtype' became 'layout'"),
        ({"namespace": "model=a"}, NamespaceMismatch, "one has more fields than the other"),
    ],
)
def test_a_plan_that_cannot_be_opened(changes, error, said):
    state = State()
    evolve(state, planned(state))
    before = digest(state)
    with pytest.raises(error, match=said):
        planned(state, **changes)
    assert digest(state) == before
    evolve(state, planned(state, **changes, keep=[]) if error is NamespaceMismatch else planned(state))
    assert state.epoch == 2


def test_more_keys_than_an_event_carries_become_several_events():
    desk, events = desk_of(spec("g1", 2048), spec("g2", 2048))
    keys = keys_of(2 * MAX_BLOCKS + 76)
    put(desk, keys)
    sizes = [len(event.keys) // KEY_DIGITS for event in events if isinstance(event, Registered)]
    assert sizes == [MAX_BLOCKS, MAX_BLOCKS, 76]
    started = start_all(desk, "g1", "g2", keys)
    assert [len(event.keys) // KEY_DIGITS for event in started] == [MAX_BLOCKS, MAX_BLOCKS, 76]
    for event in started:
        complete_transfer(desk, event.transfer)
    allocate(desk, "g1", "new", 2000)
    assert evict(desk, "g2", keys[:1], reason="operator", actor="test") == len(keys)
    gone_in = [(event.tier, len(event.keys) // KEY_DIGITS) for event in events if isinstance(event, Evicted)]
    assert gone_in == [("g1", MAX_BLOCKS), ("g1", MAX_BLOCKS), ("g1", 28)] + [
        ("g2", size) for size in (MAX_BLOCKS, MAX_BLOCKS, 76)
    ]
    assert check_integrity(desk.state) == []


def test_a_registration_of_several_events_is_refused_whole():
    desk, events = desk_of(spec("g1", 2048))
    put(desk, prefix([1, 1]))
    keys = keys_of(2 * MAX_BLOCKS)
    slots = allocate(desk, "g1", "r", len(keys))
    for last, said in ((keys[0], "none twice"), (prefix([1, 1])[1], "its parent in g1 is another one")):
        refuse(desk, events, filled(slots, [*keys[:-1], last]), InvalidCommand, said)
    refuse(desk, events, filled(slots[:2], [NEW, NEW]), InvalidCommand, "none twice")
    refuse(desk, events, filled([*slots[:-1], 0], keys_of(len(keys), 1)), InvalidCommand, "slot 0: it is registered")


def test_an_instance_has_so_many_open_requests():
    desk, events = desk_of(spec("g1", 8))
    put(desk, KEYS, keep=True)
    for i in range(MAX_REQUESTS - 1):
        match(desk, f"r{i}", ())
    said = re.escape(f"{MAX_REQUESTS} requests are open: that is the limit of an instance. Try: release requests")
    refuse(desk, events, asked("one more"), TooManyRequests, said)
    refuse(desk, events, to(request="one more"), TooManyRequests, said)
    match(desk, "r", KEYS)
    release(desk, "r0")
    match(desk, "one more", KEYS)
