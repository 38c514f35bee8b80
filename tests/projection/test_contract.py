"""What a projection must do in every database."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import delete, update

from kvbm_events.codec import encode
from kvbm_events.schema import Released
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand
from kvbm_nats.projection import (
    ProjectionConflict,
    ProjectionMissing,
    Projector,
    follower,
    open_projection,
    schema,
    verify,
)
from kvbm_statemachine.decide import evict, match
from projection.checks import assert_equal, caught_up, execute, journal_of, reached
from projection.histories import Story, busy_story, chain, log_of


async def test_tables_equal_the_fold_at_any_checkpoint_and_each_entry_is_there_once(url, monkeypatch):
    monkeypatch.setattr(follower, "WRITE_EVENTS", 16)
    log = log_of(owned=busy_story(1, 150), observed=busy_story(2, 150, observed=True))
    last = await log.last_seq()
    for until in (1, last // 3, last // 3, last // 2, last):
        projector = await caught_up(url, log, until)
        assert projector.status.seq == until
        assert (await assert_equal(url, log)).instances == (1 if until == 1 else 2)
    assert [row.seq for row in await journal_of(url)] == list(range(1, last + 1))
    assert projector.status.rebuilds == 0


async def test_the_journal_is_the_log(url):
    story = Story()
    story.fill("request-1", 0b101, 8)
    story.do("release", 0, 0)
    await caught_up(url, log_of(a=story))
    rows = await journal_of(url)
    assert [row.body for row in rows] == [encode(event).decode() for event in story.events]
    assert [(row.type, row.tier, row.request, row.blocks, row.reason) for row in rows] == [
        ("Opened", None, None, 0, None),
        ("Matched", None, "request-1", 0, None),
        ("Allocated", "g1", "request-1", 8, None),
        ("Registered", "g1", "request-1", 8, None),
        ("Released", None, "request-1", 0, "finished"),
    ]
    assert [row.n for row in rows] == list(range(5))
    assert all(row.applied_seq == row.seq for row in rows)
    assert json.loads(rows[2].body)["slots"] == [[0, 8]]


async def test_the_journal_is_read_by_range_and_instance(url):
    log = log_of(a=busy_story(3, 40), b=busy_story(4, 40))
    await caught_up(url, log)
    everything = await journal_of(url)
    assert await journal_of(url, after=7, until=20) == everything[7:20]
    of_b = await journal_of(url, instance="b", after=7)
    assert of_b == [row for row in everything if row.instance == "b" and row.seq > 7]
    async with open_projection(url) as projection:
        assert await projection.journal(limit=3) == everything[:3]
        with pytest.raises(InvalidCommand, match="0 rows"):
            await projection.journal(limit=0)


async def test_typed_reads_of_the_state(url):
    story = Story(capacity=16)
    story.fill("request-1", 0, 4)
    await caught_up(url, log_of(a=story, b=Story(capacity=4)))
    async with open_projection(url) as projection:
        first, second = await projection.instances()
        assert (first.name, first.epoch, first.n, first.namespace) == ("a", 1, story.state.n, "model=test")
        assert second.name == "b"
        g1 = (await projection.tiers("a"))[0]
        assert (g1.tier, g1.capacity, g1.free, g1.registered, g1.allocated) == ("g1", 16, 12, 4, 0)
        assert len(await projection.tiers()) == 6
        assert await projection.tiers("nobody") == []
        (request,) = await projection.requests("a")
        assert (request.name, request.pins, request.allocated) == ("request-1", {"g1": [3]}, {})
        (block,) = await projection.blocks(chain(0, 3)[-1])
        assert (block.instance, block.tier, block.slot, block.state, block.seq) == ("a", "g1", 2, "registered", 5)
        assert await projection.blocks("0" * 32) == []
        with pytest.raises(InvalidCommand, match="not a block key"):
            await projection.blocks("zz")


async def test_open_transfers_are_told(url):
    story = Story()
    story.fill("request-1", 0, 4)
    story.do("offload", 0, 3)
    await caught_up(url, log_of(a=story))
    async with open_projection(url) as projection:
        found = await projection.transfers("a")
    assert {each.id for each in found} == set(story.state.transfers)
    assert found[0].open == [(0, 4)] == found[0].slots


async def test_stays_tell_where_a_key_was_and_when(url):
    story = Story()
    keys = chain(0, 4)
    story.fill("request-1", 0, 4)
    registered = len(story.events)
    story.do("release", 0, 0)
    evict(story.desk, "g1", [keys[2]], reason="operator", actor="test")
    evicted = len(story.events)
    story.fill("request-2", 0, 4)
    again = len(story.events)
    story.open()
    reopened = len(story.events)
    story.fill("request-3", 0, 2)
    await caught_up(url, log_of(a=story))
    async with open_projection(url) as projection:
        assert [(stay.slot, stay.from_seq, stay.to_seq) for stay in await projection.stays(keys[3])] == [
            (3, registered, evicted),
            (3, again, reopened),
        ]
        first, second = await projection.stays(keys[0])
        assert (first.from_seq, first.to_seq) == (registered, reopened)
        assert (second.instance, second.tier, second.to_seq) == ("a", "g1", None)
        assert await projection.stays("f" * 32) == []


async def test_it_follows_until_it_is_cancelled_and_goes_on_afterwards(url):
    log, story = log_of(a=busy_story(5, 30)), Story()
    projector = Projector(log, url)
    running = asyncio.create_task(projector.run())
    last = 0
    for at in range(1, 6):
        story.do("fill", at, 6)
        for event in story.events:
            last = log.store("b", event)
        story.events.clear()
        await reached(projector, last)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await assert_equal(url, log)
    story.do("release", 0, 0)
    log.store("b", story.events[0])
    projector = await caught_up(url, log)
    assert projector.status.lag == 0
    assert (await assert_equal(url, log)).seq == last + 1


async def test_cancelling_while_it_writes_leaves_a_whole_transaction(url, monkeypatch):
    monkeypatch.setattr(follower, "WRITE_EVENTS", 8)
    log = log_of(a=busy_story(6, 150))
    for turns in (3, 7, 12, 20, 35):
        running = asyncio.create_task(Projector(log, url).run(await log.last_seq()))
        for _ in range(turns * 20):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        try:
            await assert_equal(url, log)
        except ProjectionMissing:
            continue
        rows = await journal_of(url)
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    await caught_up(url, log)
    await assert_equal(url, log)


async def test_there_is_one_projector(url):
    log = log_of(a=busy_story(7, 20))
    first = Projector(log, url)
    running = asyncio.create_task(first.run())
    await reached(first, await log.last_seq())
    with pytest.raises(ProjectionConflict, match="stop the other one"):
        await Projector(log, url).run(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await Projector(log, url).run(1)


async def test_events_out_of_turn_wait_also_over_a_restart(url):
    story = busy_story(8, 60)
    events = story.events
    at = next(
        i
        for i, event in enumerate(events)
        if i > 10 and {type(e).__name__ for e in events[i : i + 4]}.isdisjoint({"Opened"})
    )
    events[at : at + 4] = [events[at + 3], events[at + 1], events[at], events[at + 2]]
    log = log_of(a=story)
    await caught_up(url, log, at + 2)  # two wait for the third
    await assert_equal(url, log)
    assert [row.applied_seq for row in await journal_of(url, after=at)] == [None, None]
    await caught_up(url, log)
    await assert_equal(url, log)
    applied = [row.applied_seq for row in await journal_of(url, after=at, until=at + 4)]
    assert applied == [at + 4, at + 3, at + 3, at + 4]


async def test_what_a_fenced_owner_wrote_is_kept_but_not_applied(url):
    story = busy_story(9, 40)
    log = log_of(a=story)
    before = len(story.events)
    story.open()
    opened = log.store("a", story.events[before])
    late = log.store("a", Released(epoch=story.state.epoch - 1, n=1 << 20, at_us=1, request="nobody"))
    story.fill("request-1", 1, 3)
    for event in story.events[before + 1 :]:
        log.store("a", event)
    projector = await caught_up(url, log)
    await assert_equal(url, log)
    (row,) = await journal_of(url, after=opened, until=late)
    assert (row.request, row.applied_seq) == ("nobody", None)
    assert projector.status.passed_over == 1


async def test_an_event_that_cannot_be_applied_stops_it_there(url):
    story = busy_story(10, 30)
    log = log_of(a=story)
    bad = log.store("a", Released(epoch=story.state.epoch, n=story.state.n + 1, at_us=1, request="never opened"))
    log.store("a", Released(epoch=story.state.epoch, n=story.state.n + 2, at_us=1, request="never opened"))
    for _ in range(2):
        with pytest.raises(IllegalTransition, match="never opened"):
            await Projector(log, url).run(await log.last_seq())
        async with open_projection(url) as projection:
            assert (await projection.position()).seq == bad - 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (update(schema.instance).values(namespace="other"), "instance a: the table has"),
        (update(schema.tier).where(schema.tier.c.tier == "g2").values(free=1), "a: tier g2"),
        (update(schema.tier).where(schema.tier.c.tier == "g1").values(policy="fifo"), "a: tier g1"),
        (update(schema.request).values(pins="{}"), "a: request request-1"),
        (delete(schema.request), "a: request request-1: the table has nothing"),
        (delete(schema.transfer), "a: transfer"),
        (update(schema.block).where(schema.block.c.id % 2 == 1).values(state=3), "a: g1 slot 1: the table has (3,"),
        (delete(schema.block).where(schema.block.c.id % 4 == 2), "a: g1 slot 2: the table has nothing"),
    ],
)
async def test_verify_names_the_first_difference(url, change, told):
    story = Story()
    story.fill("request-1", 0, 6)
    story.do("offload", 0, 3)
    log = log_of(a=story)
    await caught_up(url, log)
    await assert_equal(url, log)
    await execute(url, change)
    found = await verify(url, log)
    assert told in found.difference


async def test_a_look_up_counts_what_it_found(url):
    story = Story()
    story.fill("request-1", 0, 6)
    match(story.desk, "request-2", chain(0, 6))
    await caught_up(url, log_of(a=story))
    assert (await journal_of(url))[-1].blocks == 6
