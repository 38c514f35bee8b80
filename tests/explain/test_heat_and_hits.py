"""What the page's pictures are drawn of: when blocks were last used, hits by time, and who asked lately."""

from __future__ import annotations

from itertools import pairwise

import pytest

from explain.small_owner import START_US, Owner, prompt
from kvbm_events.memory import MemoryLog
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.explain import heat, hits_over_time, recent_requests, tiers_heat
from kvbm_nats.projection import open_projection
from kvbm_statemachine.decide import allocate
from projection.checks import caught_up


def at(seconds: float) -> int:
    return START_US + int(seconds * 1e6)


@pytest.fixture
def owner() -> Owner:
    return Owner(MemoryLog(), plan="g1=8,g2=4")


@pytest.fixture
def ask(owner, tmp_path):
    async def ask(question, until=None):
        url = str(tmp_path / "projection.db")
        await caught_up(url, owner.log)
        async with open_projection(url) as projection:
            return await question(projection, until or (await projection.position()).seq)

    return ask


async def heat_at(projection, until, **options):
    state = await projection.state("a", until)
    return {each.tier: each for each in await tiers_heat(projection, "a", state, until, **options)}


async def test_a_block_is_as_old_as_its_last_use(owner, ask):
    owner.at(1)
    owner.fill("one", prompt("a", "b"))
    owner.at(2)
    owner.fill("two", prompt("x"))
    owner.at(3)
    owner.ask("three", prompt("a", "c"))
    then = await owner.log.last_seq()
    owner.at(4)
    owner.ask("four", prompt("a", "b"))
    allocate(owner.desk, "g1", "five", 2)

    def used(found):
        return {cell.key: cell.used_us for cell in found["g1"].cells if cell.key}

    a, b = prompt("a", "b")
    (x,) = prompt("x")
    now, before = await ask(heat_at), await ask(heat_at, then)
    assert used(now) == {a: at(4), b: at(4), x: at(2)}
    assert used(before) == {a: at(3), b: at(1), x: at(2)}
    assert sum(cell.allocated for cell in now["g1"].cells) == 2
    assert sum(cell.free for cell in now["g1"].cells) == 3
    assert [cell.free for cell in now["g2"].cells] == [1, 1, 1, 1]


async def test_a_slot_that_was_given_to_another_block_is_as_old_as_that(owner, ask):
    owner.at(1)
    owner.fill("one", prompt(*"abcdefgh"))
    owner.at(2)
    owner.fill("two", prompt(*"stuvwxyz"))
    found = await ask(heat_at)
    assert {cell.used_us for cell in found["g1"].cells} == {at(2)}


async def test_neighbours_share_a_cell_when_there_are_too_many(owner, ask):
    owner.at(1)
    owner.fill("one", prompt("a", "b"))
    owner.at(2)
    owner.fill("two", prompt("x"))

    async def coarse(projection, until):
        return await heat_at(projection, until, cells=3)

    found = (await ask(coarse))["g1"]
    assert (found.cell_slots, [cell.slots for cell in found.cells]) == (3, [3, 3, 2])
    assert [(cell.registered, cell.free, cell.used_us, cell.key) for cell in found.cells] == [
        (3, 0, at(2), prompt("x")[0]),
        (0, 3, 0, ""),
        (0, 2, 0, ""),
    ]


async def test_what_is_older_than_what_is_read_has_no_time(owner, ask, monkeypatch):
    monkeypatch.setattr(heat, "PAGE", 1)
    monkeypatch.setattr(heat, "EVENTS", 2)
    owner.fill("one", prompt("a"))
    owner.at(2)
    owner.fill("two", prompt("x"))
    found = await ask(heat_at)
    assert sorted((cell.key, cell.used_us) for cell in found["g1"].cells if cell.key) == sorted(
        [(prompt("a")[0], 0), (prompt("x")[0], at(2))]
    )


async def test_hits_are_counted_where_they_were(owner, ask):
    owner.at(0)
    owner.fill("one", prompt("a", "b"))
    owner.at(10)
    owner.ask("two", prompt("a", "b", "c", "d"))

    async def hits(projection, until):
        return await hits_over_time(projection, "a", until)

    spans = await ask(hits)
    assert [(each.look_ups, each.asked, each.found) for each in spans if each.look_ups] == [
        (1, 2, {}),
        (1, 4, {"g1": 2}),
    ]
    assert spans[0].from_us == at(0)
    assert spans[-1].to_us > at(10)
    assert all(before.to_us == after.from_us for before, after in pairwise(spans))
    assert await ask(hits, 1) == []


async def test_who_asked_lately_and_who_missed_most(owner, ask):
    for number, words in enumerate(("abc", "ab", "abcde")):
        owner.at(number)
        owner.ask(f"req-{number}", prompt(*words))

    async def listed(projection, until, **options):
        found = await recent_requests(projection, until=until, **options)
        return [each.request for each in found.requests], [each.missed for each in found.requests], found.more

    assert await ask(listed) == (["req-2", "req-1", "req-0"], [5, 2, 3], 0)

    async def missed(projection, until):
        return await listed(projection, until, order="missed", limit=2)

    assert await ask(missed) == (["req-2", "req-0"], [5, 3], 1)

    async def named(projection, until):
        return await listed(projection, until, containing="-1")

    assert await ask(named) == (["req-1"], [2], 0)

    async def none(projection, until):
        return await listed(projection, until, limit=0)

    with pytest.raises(InvalidCommand, match="0 requests"):
        await ask(none)
