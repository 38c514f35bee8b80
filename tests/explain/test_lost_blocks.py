"""Blocks whose bytes are not there any more, slots in quarantine, and memory that came back as another."""

from __future__ import annotations

import pytest

from explain.small_owner import Owner, causes, prompt
from kvbm_events.codec import decode
from kvbm_events.schema import Contents
from kvbm_nats.explain.words import sentence
from kvbm_statemachine.decide import attach, complete_transfer, evict, fail_transfer, free_quarantined, onboard, release

PLAN = "g1=4,g2=4"
KEYS = prompt("a", "b")


@pytest.fixture
def owner(log) -> Owner:
    """Its blocks are in g2 alone."""
    owner = Owner(log, plan=PLAN)
    owner.fill("req-1", KEYS)
    owner.down_and_out(KEYS)
    return owner


async def test_gone(owner, ask_why, life_of):
    owner.at(10)
    evict(owner.desk, "g2", KEYS[:1], reason="gone", actor="mover")
    owner.at(12)
    owner.ask("req-2", KEYS)
    found = await ask_why("req-2")
    assert causes(found) == [("gone", 0, 2)]
    (loss,) = found.losses
    assert (loss.tier, loss.reason, loss.actor, loss.capacity_needed) == ("g2", "gone", "mover", None)
    assert loss.said.endswith("was taken out of g2 2.0 s before: it was not there any more")
    assert loss.evidence[-1].said == "evicted from g2 slot 0: gone, by mover"
    assert (await life_of(KEYS[0])).stays[-1].ended == "evicted from g2 slot 0: gone, by mover"


async def test_gone_while_it_was_loaded(owner, ask_why, story_of):
    owner.ask("req-2", KEYS, hold=True)
    event = onboard(owner.desk, "g2", "g1", KEYS, request="req-2", deadline_us=1)
    evict(owner.desk, "g2", KEYS[:1], reason="gone", actor="mover")
    fail_transfer(owner.desk, event.transfer, reason="gone: no such object")
    found = await ask_why("req-2")
    assert causes(found) == [("gone", 0, 2)]
    assert found.losses[0].said.endswith("did not come up to g1: they were not where they had been put")
    assert (
        (await story_of("req-2")).events[-1].said.endswith("2 blocks did not arrive in g1 (1.9): gone: no such object")
    )


async def test_memory_that_came_back_as_another(owner, ask_why, life_of):
    attach(owner.desk, rank=0, holder="w-1", contents=[Contents(tier="g2", name="aa")])
    owner.at(5)
    attach(owner.desk, rank=0, holder="w-2", contents=[Contents(tier="g2", name="bb", why="the file was made anew")])
    owner.at(6)
    owner.ask("req-2", KEYS)
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.tier, loss.reason, loss.actor) == ("reset", "g2", "reset", "w-2, rank 0")
    assert loss.said == (
        "block 0 (tokens 0 to 15) was lost with g2 1.0 s before: "
        "rank 0 of w-2 came with other contents (the file was made anew)"
    )
    assert loss.evidence[-1].said == "rank 0 attached by w-2: g2 has bb (the file was made anew)"
    life = await life_of(KEYS[0])
    assert [event.type for event in life.events][-2:] == ["Evicted", "Attached"]
    assert life.places == []


async def test_a_reset_that_nothing_was_attached_after(owner, ask_why):
    evict(owner.desk, "g2", KEYS[:1], reason="reset", actor="fsck")
    owner.ask("req-2", KEYS)
    (loss,) = (await ask_why("req-2")).losses
    assert loss.said.endswith("before: its memory was reset")


async def test_slots_in_quarantine_and_a_persons_word(owner, life_of, story_of):
    owner.ask("req-2", KEYS, hold=True)
    event = onboard(owner.desk, "g2", "g1", KEYS, request="req-2", deadline_us=1)
    fail_transfer(owner.desk, event.transfer, reason="deadline passed", stopped=False)
    assert free_quarantined(owner.desk, ["g1"], actor="operator ann") == 2
    said = [each.said for each in (await life_of(KEYS[0])).events][-2:]
    assert said == [
        "g2 → g1 slot 0 for req-2 did not arrive: deadline passed; the slot is in quarantine: its mover may not have stopped",
        "g1 slot 0 left quarantine: freed by an operator, on the word of operator ann",
    ]
    doubt = "their slots stay closed until the mover is known to have stopped"
    story = await story_of("req-2")
    assert [each.said for each in story.events][-2:] == [
        f"g2 → g1: 2 blocks did not arrive in g1 (1.9): deadline passed; {doubt}",
        "2 slots of g1 left quarantine (1.9): freed by an operator, on the word of operator ann",
    ]
    assert story.is_open


async def test_a_mover_that_stopped_late(owner, life_of, story_of):
    owner.ask("req-2", KEYS, hold=True)
    event = onboard(owner.desk, "g2", "g1", KEYS, request="req-2", deadline_us=1)
    complete_transfer(owner.desk, event.transfer, slots=[0])
    fail_transfer(owner.desk, event.transfer, reason="deadline passed", slots=[1], stopped=False)
    release(owner.desk, "req-2")
    fail_transfer(owner.desk, event.transfer, reason="arrived too late", slots=[1])
    assert (await life_of(KEYS[1])).events[-1].said == "g1 slot 1 left quarantine: arrived too late"
    story = await story_of("req-2")
    assert story.events[-1].said == "1 slot of g1 left quarantine (1.9): arrived too late"
    assert (story.is_open, story.ended) == (False, "finished"), "what ends later does not open it again"


async def test_a_lost_load_is_never_in_flight(owner, ask_why):
    """Its slots are in quarantine: nothing comes there any more."""
    owner.ask("req-2", KEYS, hold=True)
    event = onboard(owner.desk, "g2", "g1", KEYS, request="req-2", deadline_us=1)
    fail_transfer(owner.desk, event.transfer, reason="deadline passed", stopped=False)
    evict(owner.desk, "g2", KEYS[:1], reason="corrupt", actor="fsck")
    owner.ask("req-3", KEYS)
    assert causes(await ask_why("req-3")) == [("corrupt", 0, 2)]


async def test_a_worker_that_tells_of_two_tiers(owner, log):
    attach(owner.desk, rank=1, holder="w-1", contents=[Contents(tier="g1", name="aa"), Contents(tier="g2", name="bb")])
    (event,) = [
        event
        for event in [decode(entry.data) async for batch in log.read(until=await log.last_seq()) for entry in batch]
        if type(event).__name__ == "Attached"
    ]
    assert sentence(event) == "rank 1 attached by w-1: g1 has aa, g2 has bb"
