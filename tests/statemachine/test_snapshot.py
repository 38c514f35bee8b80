"""A state as bytes: what is read is what was written, and damage has a name."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import msgspec
import pytest

from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine import (
    POLICIES,
    State,
    check_integrity,
    digest,
    digest_of,
    evolve,
    first_difference,
    from_bytes,
    to_bytes,
)
from kvbm_statemachine.decide import evict, note
from kvbm_statemachine.snapshot import NOTING_VERSION, SNAPSHOT_VERSION
from support.chained_keys import key_at
from support.desks import desk_of, spec
from support.history import PLANS, fold
from support.seeded_history import seeded_events

CASES = [(policy, plan) for plan in PLANS for policy in POLICIES]


@pytest.mark.parametrize(("policy", "plan"), CASES)
def test_what_is_read_is_what_was_written_and_goes_on_alike(policy, plan):
    events = seeded_events(policy, plan, 5)
    for at in range(0, len(events), 20):
        data = to_bytes(fold(events[:at]))
        read = from_bytes(data)
        assert to_bytes(read) == data
        assert check_integrity(read) == []
        for event in events[at:]:
            evolve(read, event)
        assert first_difference(read, fold(events)) == ""


def test_notes_raise_the_version_and_what_has_none_is_as_it_was_before_there_were_any():
    desk, _ = desk_of(spec("g4", 8))
    without = to_bytes(desk.state)
    assert b"writers" not in without
    assert msgspec.msgpack.decode(without)["version"] == SNAPSHOT_VERSION
    note(desk, "g4", [key_at(1)], writer="a", checksums="1" * 16)
    noted = to_bytes(desk.state)
    assert msgspec.msgpack.decode(noted)["version"] == NOTING_VERSION
    assert from_bytes(noted).tiers["g4"].writers == {0: "a"}
    evict(desk, "g4", [key_at(1)], reason="operator", actor="a")
    assert msgspec.msgpack.decode(to_bytes(desk.state))["version"] == SNAPSHOT_VERSION


def test_the_digest_is_that_of_the_bytes_and_tells_states_apart():
    events = seeded_events("lru", "g1+g2", 6)
    seen = {digest(fold(events[:at])) for at in range(len(events))}
    assert len(seen) == len(events)
    state = fold(events)
    assert digest(state) == digest_of(to_bytes(state))


def test_the_first_difference_is_named_with_both_values():
    events = seeded_events("lru", "g1", 6)
    while not events[-1].n:  # where an epoch begins, that is the first difference
        events.pop()
    left, right = fold(events), fold(events[:-1])
    assert first_difference(left, right) == f"state.n: {left.n} ≠ {right.n}"
    right = fold(events)
    right.tiers["g1"].seen[3] += 1
    assert first_difference(left, right).startswith("state.tiers[0].seen: ")


def test_an_empty_state():
    assert first_difference(from_bytes(to_bytes(State())), State()) == ""


@pytest.mark.parametrize(("policy", "plan"), CASES)
def test_damaged_bytes_are_refused_by_name_or_have_another_digest(policy, plan):
    data, chance = to_bytes(fold(seeded_events(policy, plan, 7))), Random(7)
    for _ in range(1000):
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        assert digest_of(bytes(damaged)) != digest_of(data)
        with suppress(IllegalTransition):  # any other error fails the test
            from_bytes(bytes(damaged))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"{}", b"\x80", b"\x93" * 5000, b"state"])
def test_bytes_that_are_no_snapshot(data):
    with pytest.raises(IllegalTransition, match="this snapshot cannot be read"):
        from_bytes(data)


def test_bytes_that_end_early():
    data = to_bytes(fold(seeded_events("arc", "g1+g2+g3", 8)))
    for size in range(0, len(data), 7):
        with pytest.raises(IllegalTransition, match="this snapshot cannot be read"):
            from_bytes(data[:size])


def changed(change, policy="fifo"):
    """A snapshot after a change that leaves it well formed."""
    parts = msgspec.msgpack.decode(to_bytes(fold(seeded_events(policy, "g1+g2", 11))))
    change(parts)
    return msgspec.msgpack.encode(parts)


def test_a_snapshot_of_another_version():
    data = changed(lambda parts: parts.update(version=NOTING_VERSION + 1))
    with pytest.raises(IllegalTransition, match=f"is of version {NOTING_VERSION + 1}.*replay from the log"):
        from_bytes(data)


TIER, CHAIN = "tiers", "chains"
CHANGES = {
    "a capacity that its bytes do not have": lambda parts: parts[TIER][0]["spec"].update(capacity=1 << 60),
    "a state that is none": lambda parts: parts[TIER][0].update(states=b"\x09" * 7),
    "too few counts": lambda parts: parts[TIER][0].update(seen=b""),
    "checksums of some slots only": lambda parts: parts[TIER][1].update(checksums=b"\x01" * 8),
    "a policy that is none": lambda parts: parts[TIER][0]["spec"].update(policy="clairvoyant"),
    "an order that is none": lambda parts: parts[TIER][0].update(policy=["12345", []]),
    "an order of slots that are not there": lambda parts: parts[TIER][1].update(policy=[[[5, 1 << 60]]]),
    "a chain without blocks": lambda parts: parts[TIER][0][CHAIN][0].__setitem__(slice(5, 7), ["", []]),
    "a chain longer than its tier": lambda parts: parts[TIER][0][CHAIN][0].__setitem__(6, [[0, 1 << 60]]),
    "a chain below nothing": lambda parts: parts[TIER][0][CHAIN][0].__setitem__(3, 99),
    "a hold on nothing": lambda parts: parts["requests"].append(["r9", 50, {}, {"g1": [99]}]),
    "a hold in a tier that is not there": lambda parts: parts["requests"].append(["r9", 50, {}, {"g4": [0]}]),
    "a transfer into a tier that is not there": lambda parts: parts["transfers"].append(transfer(tier="g4")),
    "a transfer longer than its keys": lambda parts: parts["transfers"].append(transfer(slots=[[0, 1 << 60]])),
    "a transfer of a slot that is not its own": lambda parts: parts["transfers"].append(transfer(open=[3])),
}


def transfer(**more):
    ends = {"id": "1.9", "kind": "offload", "source": "g1", "tier": "g2", "request": "", "priority": 50}
    blocks = {"parent": "", "keys": key_at(0), "source_slot": -1, "source_slots": [[0, 1]], "slots": [[0, 1]]}
    return {**ends, **blocks, "deadline_us": 1, "open": [0], "quarantined": [], **more}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_snapshot_that_cannot_be_loaded(change):
    with pytest.raises(IllegalTransition, match=r"this snapshot is damaged.*replay from the log"):
        from_bytes(changed(change))


def test_a_state_that_contradicts_itself_is_loaded_to_be_looked_at():
    state = from_bytes(changed(lambda parts: parts[TIER][0].update(states=bytes(7))))
    assert any(flaw.startswith("g1: slot 0 is not what chain ") for flaw in check_integrity(state))


def test_an_order_of_marks_that_are_none():
    data = changed(lambda parts: parts[TIER][0].update(policy=[1, [[0, [[0, "tick"]]]]]), "lineage-lru")
    with pytest.raises(IllegalTransition, match="this snapshot is damaged"):
        from_bytes(data)
