"""Blocks that another instance has written: noted, found, read, evicted, and never taken for our own."""

from __future__ import annotations

import pytest

from kvbm_events.schema import MAX_BLOCKS, Evicted, Noted, unpack_keys
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand, UnknownTier
from kvbm_statemachine import check_integrity, digest, evolve, from_bytes, to_bytes
from kvbm_statemachine.decide import complete_transfer, evict, match, note, offload, onboard
from support.chained_keys import key_at, prefix
from support.desks import desk_of, put, spec, start_all

KEYS = prefix([1] * 6)
OWN = "c" * 16


def sums(keys):
    return "".join(key[:16] for key in keys)


def noted(desk, keys, writer="a", parent=""):
    return note(desk, "g4", keys, writer=writer, parent=parent, checksums=sums(keys))


def down(desk, keys):
    """Compute blocks and bring them into our own objects."""
    put(desk, keys)
    for event in start_all(desk, "g1", "g4", keys):
        complete_transfer(desk, event.transfer, checksums=OWN * len(unpack_keys(event.keys)))


def test_what_is_noted_is_found_and_read_as_its_writer_has_it():
    desk, events = desk_of(spec("g1", 8), spec("g4", 8))
    assert noted(desk, KEYS) == 6
    match(desk, "r", KEYS)
    event = onboard(desk, "g4", "g1", KEYS, request="r", deadline_us=9)
    assert (event.writer, event.checksums) == ("a", sums(KEYS))
    assert digest(from_bytes(to_bytes(desk.state))) == digest(desk.state)
    assert check_integrity(desk.state) == []
    assert [type(each).__name__ for each in events] == ["Noted", "Matched", "OnboardStarted"]


@pytest.mark.parametrize(("brings", "found"), [(0, 2), (3, 5)])
def test_a_look_up_asks_once_what_there_is_beyond_and_finds_what_that_brought(brings, found):
    desk, events = desk_of(spec("g1", 8), spec("g4", 8))
    put(desk, KEYS[:2])
    asked = []

    def beyond(at):
        asked.append(at)
        return brings and noted(desk, KEYS[at : at + brings], parent=KEYS[at - 1]) > 0

    del events[:]
    hits = match(desk, "r", KEYS, more=beyond)
    assert sum(len(hit.slots) for hit in hits) == found
    assert asked == [2]
    assert [type(each).__name__ for each in events] == ["Noted"] * bool(brings) + ["Matched"]
    assert unpack_keys(events[-1].missed) == KEYS[found:]


def test_a_look_up_that_finds_all_or_is_refused_asks_for_nothing_beyond():
    desk, events = desk_of(spec("g1", 8), spec("g4", 8))
    put(desk, KEYS)
    del events[:]
    asked = []
    assert match(desk, "r", KEYS, more=asked.append)
    with pytest.raises(InvalidCommand, match="priority"):
        match(desk, "s", [*KEYS, key_at(9)], priority=101, more=asked.append)
    assert asked == []
    assert len(events) == 1


def test_a_transfer_has_blocks_of_one_writer():
    desk, _ = desk_of(spec("g1", 16), spec("g4", 16))
    down(desk, KEYS[:2])
    noted(desk, KEYS[2:4], "a", KEYS[1])
    noted(desk, KEYS[4:], "b", KEYS[3])
    evict(desk, "g1", KEYS[:1], reason="operator", actor="o")
    match(desk, "r", KEYS)
    with pytest.raises(InvalidCommand, match="of one writer"):
        onboard(desk, "g4", "g1", KEYS, request="r", deadline_us=9)
    started = start_all(desk, "g4", "g1", KEYS, request="r")
    assert [(event.writer, len(unpack_keys(event.keys))) for event in started] == [("", 2), ("a", 2), ("b", 2)]


def test_an_eviction_has_blocks_of_one_writer_and_children_go_before_their_parents():
    desk, events = desk_of(spec("g1", 16), spec("g4", 16))
    down(desk, KEYS[:2])
    noted(desk, KEYS[2:], "a", KEYS[1])
    down(desk, prefix([1, 1, 7]))
    events.clear()
    evict(desk, "g4", KEYS[:1], reason="reset", actor="o")
    gone = [(event.writer, unpack_keys(event.keys)) for event in events if isinstance(event, Evicted)]
    assert sorted(writer for writer, _ in gone) == ["", "", "a"] or sorted(writer for writer, _ in gone) == ["", "a"]
    assert [keys for writer, keys in gone if writer] == [KEYS[2:]]
    assert check_integrity(desk.state) == []
    assert not desk.state.tiers["g4"].writers


def test_more_than_an_event_takes_are_several():
    desk, events = desk_of(spec("g4", 2 * MAX_BLOCKS))
    keys = prefix([3] * (MAX_BLOCKS + 5))
    assert noted(desk, keys) == len(keys)
    assert [len(unpack_keys(event.keys)) for event in events if isinstance(event, Noted)] == [MAX_BLOCKS, 5]
    assert check_integrity(desk.state) == []


def test_notes_make_room_but_not_of_what_they_go_on_from_and_not_of_what_is_held():
    desk, _ = desk_of(spec("g1", 16), spec("g4", 6))
    down(desk, prefix([5] * 2))
    down(desk, KEYS[:2])
    assert noted(desk, KEYS[2:], "a", KEYS[1]) == 4, "others went for it"
    assert set(desk.state.tiers["g4"].lineage.index) == set(KEYS)
    match(desk, "r", KEYS)
    assert noted(desk, prefix([6])) == 0
    desk, _ = desk_of(spec("g1", 16), spec("g4", 4))
    down(desk, KEYS[:3])
    assert noted(desk, KEYS[3:], "a", KEYS[2]) == 1, "only what is free"
    assert set(KEYS[:3]) <= set(desk.state.tiers["g4"].lineage.index)


def test_a_note_of_what_we_write_or_have_is_refused_and_changes_nothing():
    desk, events = desk_of(spec("g1", 16), spec("g2", 4, control="observed"), spec("g4", 16))
    put(desk, KEYS)
    offload(desk, "g1", "g4", KEYS[:1], deadline_us=9)
    noted(desk, prefix([2]))
    before, count = digest(desk.state), len(events)
    for keys, more, why in (
        (KEYS, {}, "on its way there"),
        (prefix([2]), {}, "registered again"),
        (prefix([3]), {"writer": ""}, "has a writer"),
        (prefix([3]), {"checksums": "0" * 16}, "checksum for each"),
        (prefix([3]), {"checksums": "1" * 15}, "checksum for each"),
        ([], {"checksums": ""}, "checksum for each"),
        (prefix([3]), {"parent": "x"}, "no|not a block key"),
    ):
        with pytest.raises(InvalidCommand, match=why):
            note(desk, "g4", keys, **{"writer": "a", "checksums": sums(keys)} | more)
    with pytest.raises(InvalidCommand, match="an engine decides there"):
        note(desk, "g2", prefix([3]), writer="a", checksums=sums(prefix([3])))
    with pytest.raises(UnknownTier):
        note(desk, "g3", prefix([3]), writer="a", checksums=sums(prefix([3])))
    assert (digest(desk.state), len(events)) == (before, count)


def test_events_that_name_another_writer_are_illegal():
    desk, _ = desk_of(spec("g1", 8), spec("g4", 8))
    noted(desk, KEYS[:2])
    place = {"epoch": desk.state.epoch, "n": desk.state.n + 1, "at_us": 1}
    slots = [(desk.state.tiers["g4"].lineage.index[KEYS[1]], 1)]
    for writer in ("", "b"):
        with pytest.raises(IllegalTransition, match="has not written all of it"):
            evolve(
                desk.state,
                Evicted(**place, tier="g4", slots=slots, keys=KEYS[1], reason="ttl", actor="o", writer=writer),
            )
    with pytest.raises(IllegalTransition, match="registered again"):
        evolve(
            desk.state,
            Noted(**place, tier="g4", writer="b", slots=[(5, 1)], keys=KEYS[1], parent=KEYS[0], checksums="1" * 16),
        )
    with pytest.raises(IllegalTransition, match="own ancestor"):
        looped = key_at(8) + key_at(9)
        evolve(
            desk.state,
            Noted(**place, tier="g4", writer="b", slots=[(5, 2)], keys=looped, parent=key_at(9), checksums="1" * 32),
        )
