"""Look-ups that begin within a prompt: groups of layers that attend to a window only."""

from __future__ import annotations

import pytest

from explain.small_owner import Owner, causes, prompt
from kvbm_statemachine.decide import allocate, complete_transfer, evict, fail_transfer, onboard, register, release
from kvbm_statemachine.decide.lookup import Start

WHOLE = prompt(*"abcdef")
WINDOW = prompt(*"ABCDEF")[3:]
START = Start(3, prompt(*"ABC")[-1])


@pytest.fixture
def owner(log) -> Owner:
    """All of a prompt, and the window at its end, are in g2."""
    owner = Owner(log, plan="g1=12:observed,g2=12")
    slots = allocate(owner.desk, "g1", "req-1", 9)
    register(owner.desk, "g1", "req-1", slots[:6], WHOLE)
    register(owner.desk, "g1", "req-1", slots[6:], WINDOW, START.parent)
    release(owner.desk, "req-1")
    for keys in (WHOLE, WINDOW):
        complete_transfer(owner.desk, owner.down(keys), checksums="ab" * 8 * len(keys))
        evict(owner.desk, "g1", keys[::-1], reason="capacity", actor="vllm")
    return owner


def look_up(owner, request="req-2", *, missing=False):
    """As the connector does it: a window that is there, what has all of the prompt, and a window that is not there."""
    if not missing:
        owner.ask(request, WINDOW, hold=True, local=0, start=START)
    owner.ask(request, WHOLE, hold=True, local=0)
    if missing:
        owner.ask(request, WINDOW, local=0, start=START)


async def test_a_window_that_was_evicted(owner, ask_why):
    evict(owner.desk, "g2", WINDOW[1:2], reason="operator", actor="ops")
    look_up(owner, missing=True)
    found = await ask_why("req-2")
    assert (found.start, found.asked, found.found, found.missed) == (3, 3, {"g2": 1}, 2)
    assert causes(found) == [("evicted", 4, 2)]
    assert (found.losses[0].first_token, found.losses[0].parent) == (64, WINDOW[0])


async def test_a_window_that_no_step_ended_with(log, ask_why):
    owner = Owner(log, plan="g1=12:observed,g2=12")
    owner.ask("req-1", WHOLE, hold=True, local=0)
    owner.ask("req-1", WINDOW, local=0, start=START)
    (loss,) = (await ask_why("req-1")).losses
    assert (loss.cause, loss.first_block, loss.parent) == ("new", 3, START.parent)
    assert loss.said == (
        "block 3 (tokens 48 to 63), of a window, was never stored: of those an engine keeps what it has when a step ends"
    )


@pytest.mark.parametrize(("keys", "lost", "place"), [(WINDOW, 1, 4), (WHOLE[2:], 0, 2)])
async def test_what_did_not_come_up_is_told_of_every_group(owner, ask_why, keys, lost, place):
    """Of those that have all of the prompt, the first two were there."""
    look_up(owner)
    started = [
        onboard(owner.desk, "g2", "g1", part, request="req-2", deadline_us=1, at=at)
        for part, at in ((WINDOW, [0, 1, 2]), (WHOLE[2:], [3, 4, 5, 6]))
    ]
    (event,) = [event for event in started if event.keys == "".join(keys)]
    evict(owner.desk, "g2", keys[lost:], reason="corrupt", actor="mover")
    slots = [*owner.state.transfers[event.transfer].open]
    fail_transfer(owner.desk, event.transfer, reason="corrupt: other bytes", slots=slots[lost:])
    found = await ask_why("req-2")
    assert causes(found) == [("corrupt", place, len(keys) - lost)]
    assert found.losses[0].parent == ([START.parent, *WINDOW] if keys is WINDOW else WHOLE[1:])[lost]
    assert found.losses[0].tier == "g2"


async def test_a_look_up_says_where_it_begins(owner, story_of):
    look_up(owner)
    assert [event.said for event in (await story_of("req-2")).events] == [
        "req-2 asked for 3 blocks from block 3 on: found 3 in g2; missed 0",
        "req-2 asked for 6 blocks: found 6 in g2; missed 0",
    ]
