"""Blocks that were found at a peer: their life, who missed them, and why."""

from __future__ import annotations

import pytest

from explain.small_owner import Owner, causes, prompt
from kvbm_statemachine.decide import complete_transfer, evict, fail_transfer, note, offload, onboard

KEYS = prompt("a", "b")
SUM = "ab" * 8


@pytest.fixture
def writer(log) -> Owner:
    """It has put its blocks into g4."""
    owner = Owner(log, "a", plan="g1=4,g4=4")
    owner.fill("req-1", KEYS)
    event = offload(owner.desk, "g1", "g4", KEYS, deadline_us=1)
    complete_transfer(owner.desk, event.transfer, checksums=SUM * 2)
    return owner


@pytest.fixture
def reader(log, writer) -> Owner:  # noqa: ARG001 - it is there first
    return Owner(log, "b", plan="g1=4,g4=4")


def found_there(reader: Owner, request: str) -> None:
    note(reader.desk, "g4", KEYS, writer="a", length_bytes=864, checksums=SUM * 2, request=request)
    assert reader.ask(request, KEYS, hold=True) == 2


async def test_the_life_of_a_block_names_its_writer(reader, life_of, story_of):
    found_there(reader, "req-2")
    event = onboard(reader.desk, "g4", "g1", KEYS, request="req-2", deadline_us=1)
    complete_transfer(reader.desk, event.transfer, checksums=SUM * 2, length_bytes=864)
    evict(reader.desk, "g4", KEYS[1:], reason="gone", actor="mover")
    life = await life_of(KEYS[1])
    said = [each.said for each in life.events if each.instance == "b"]
    assert said == [
        "noted in g4 slot 1: written by a, 864 bytes, xxh3 abababababababab",
        "g4 of a → g1 slot 1 for req-2 arrived, 864 bytes, xxh3 abababababababab",
        "evicted from g4 slot 1: gone, by mover; written by a",
    ]
    assert {(place.instance, place.tier) for place in life.places} == {("a", "g1"), ("a", "g4"), ("b", "g1")}
    assert life.parent == KEYS[0]
    first = await life_of(KEYS[0])
    assert {(place.instance, place.tier): place.writer for place in first.places if place.tier == "g4"} == {
        ("a", "g4"): "",
        ("b", "g4"): "a",
    }
    assert (await story_of("req-2")).events[-1].said.startswith("g4 of a → g1: 2 blocks arrived")


async def test_what_was_gone_at_a_peer_is_told_as_gone(reader, ask_why):
    found_there(reader, "req-2")
    event = onboard(reader.desk, "g4", "g1", KEYS, request="req-2", deadline_us=1)
    evict(reader.desk, "g4", KEYS[:1], reason="gone", actor="mover")
    fail_transfer(reader.desk, event.transfer, reason="gone: no such object")
    failed = await ask_why("req-2")
    assert causes(failed) == [("gone", 0, 2)]
    assert failed.losses[0].said.startswith("2 blocks of a's from block 0 on were found and did not come up to g1")
    reader.ask("req-3", KEYS)
    found = await ask_why("req-3")
    assert causes(found) == [("gone", 0, 2)]
    assert (found.losses[0].instance, found.losses[0].tier) == ("b", "g4")
    assert found.losses[0].said.endswith("it was not there any more; written by a")


async def test_who_does_not_follow_misses_what_another_instance_has_and_it_is_the_writer_that_is_named(
    log, reader, ask_why
):
    found_there(reader, "req-2")
    third = Owner(log, "c", plan="g1=4,g4=4")
    third.ask("req-9", KEYS)
    (loss,) = (await ask_why("req-9")).losses
    assert (loss.cause, loss.instance) == ("other_instance", "a")
