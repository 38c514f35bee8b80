"""What a look-up finds and tells: tier by tier, behind what an engine has found, and from within a prompt."""

from __future__ import annotations

import pytest

from kvbm_events.schema import MAX_MISSED, ROOT
from kvbm_events.schema.errors import InvalidCommand
from kvbm_statemachine.decide import allocate, evict, look, match, register
from kvbm_statemachine.decide.lookup import MAX_LOOKUP, Start
from support.chained_keys import keys_of, prefix
from support.desks import desk_of, put, spec


def engines_scene():
    """g1 is an engine's: it holds the first of these keys in slot 2 and knows the second no more; g2 has them all."""
    keys = prefix([1, 1, 1, 1])
    desk, events = desk_of(spec("g1", 8, control="observed"), spec("g2", 8))
    register(desk, "g2", "r", allocate(desk, "g2", "r", 4), keys)
    register(desk, "g1", "r", allocate(desk, "g1", "r", 2, at=[2, 3]), keys[:2])
    evict(desk, "g1", keys[1:2], reason="capacity", actor="engine")
    return desk, events, keys


@pytest.mark.parametrize(
    ("local", "found"),
    [
        (None, [("g1", [2]), ("g2", [1, 2, 3])]),
        (0, [("g2", [0, 1, 2, 3])]),
        (1, [("g1", [2]), ("g2", [1, 2, 3])]),
        (3, [("g1", [2]), ("g2", [3])]),
        (4, [("g1", [2])]),
    ],
)
def test_a_look_up_goes_on_where_the_engine_has_stopped(local, found):
    desk, events, keys = engines_scene()
    hits, at = look(desk.state, keys, local=local)
    assert [(hit.tier, hit.slots) for hit in hits] == found
    assert at == len(keys)
    assert match(desk, "other", keys, local=local) == hits
    assert [part.blocks for part in events[-1].found] == [len(slots) for _, slots in found]
    assert not events[-1].missed


def test_a_look_up_within_a_prompt_says_where_it_begins():
    desk, events, keys = engines_scene()
    assert [hit.slots for hit in match(desk, "r", keys[2:], local=0, start=Start(2, keys[1]))] == [[2, 3]]
    assert (events[-1].start, events[-1].parent, events[-1].asked) == (2, keys[1], 2)


@pytest.mark.parametrize("start", [Start(2, ROOT), Start(-1, "a" * 32), Start(0, "a" * 32), Start(2, "a")])
def test_a_start_is_a_place_and_the_key_before_it(start):
    desk, events, keys = engines_scene()
    before = len(events)
    with pytest.raises(InvalidCommand):
        match(desk, "r", keys[2:], start=start)
    assert len(events) == before


def test_a_look_up_names_its_missed_keys_up_to_a_limit():
    desk, events = desk_of(spec("g1", 8))
    keys = keys_of(MAX_LOOKUP)
    put(desk, keys[:3])
    match(desk, "r", keys)
    told = events[-1]
    assert (told.asked, told.found[0].blocks) == (MAX_LOOKUP, 3)
    assert told.missed == "".join(keys[3 : 3 + MAX_MISSED])
    assert told.unnamed == MAX_LOOKUP - 3 - MAX_MISSED
