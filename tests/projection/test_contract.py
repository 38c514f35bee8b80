"""What a projection must do in every database."""

from __future__ import annotations

import asyncio
import json

import pytest
from projection.histories import Story, busy_story, chain, log_of
from projection.tables import execute
from sqlalchemy import delete, update
from structlog.testing import capture_logs

from kvbm_events.codec import encode
from kvbm_events.log import Snapshot
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import Released
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand, LogGap
from kvbm_nats.projection import (
    ProjectionConflict,
    ProjectionMissing,
    Projector,
    follower,
    open_projection,
    schema,
    verify,
)
from kvbm_statemachine import State, digest_of, evolve, to_bytes
from kvbm_statemachine.decide import evict, match


async def caught_up(url, log, until=None, **options):
    """A projector that ran to the end of the log."""
    projector = Projector(log, url, **options)
    await projector.run(until or await log.last_seq())
    return projector


async def assert_equal(url, log):
    found = await verify(url, log)
    assert found.is_equal, found.difference
    return found


async def journal_of(url, **where):
    async with open_projection(url) as projection:
        return await projection.journal(limit=10_000, **where)


def snapshot_of(name, events, at, seq):
    """The snapshot that an owner writes after its event number `at` (from 1), stored at `seq`."""
    state = State()
    for event in events[:at]:
        evolve(state, event)
    data = to_bytes(state)
    return Snapshot(
        instance=name, epoch=state.epoch, n=state.n, seq=seq, at_us=1, digest=digest_of(data), state=data
    )


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
    story.do("offload", 0, 4)  # batches of five: g2 ← none, so g1 to g3 it is
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
    async with asyncio.timeout(30):
        for at in range(1, 6):
            story.fill(f"request-{at}", at, 6)
            last = 0
            for event in story.events:
                last = log.store("b", event)
            story.events.clear()
            while projector.status.seq < last:
                await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await assert_equal(url, log)
    assert projector.status.lag == 0
    story.do("release", 0, 0)
    log.store("b", story.events[0])
    await caught_up(url, log)
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
    first = asyncio.create_task(Projector(log, url).run())
    other = Projector(log, url)
    async with asyncio.timeout(30):
        while True:
            try:
                await other.run(1)
            except ProjectionConflict as conflict:
                assert "stop the other one" in str(conflict)
                break
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await other.run(1)


async def test_events_out_of_turn_wait_also_over_a_restart(url):
    story = busy_story(8, 60)
    events = story.events
    at = next(i for i, event in enumerate(events) if i > 10 and {type(e).__name__ for e in events[i : i + 4]}.isdisjoint({"Opened"}))
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


async def test_a_log_that_lost_its_end_means_a_rebuild(url):
    story = busy_story(11, 60)
    log = log_of(a=story)
    await caught_up(url, log)
    shorter = MemoryLog()
    for event in story.events[:-5]:
        shorter.store("a", event)
    with capture_logs() as said:
        projector = await caught_up(url, shorter)
    assert projector.status.rebuilds == 1
    assert "lost its end" in projector.status.reason
    assert any("lost its end" in line.get("why", "") for line in said)
    await assert_equal(url, shorter)
    assert len(await journal_of(url)) == await shorter.last_seq()


async def test_another_event_at_the_checkpoint_means_a_rebuild(url):
    story, other = busy_story(12, 40), Story()
    log = log_of(a=story)
    checkpoint = await log.last_seq()
    await caught_up(url, log)
    again = MemoryLog()
    for event in story.events[:-5]:
        again.store("a", event)
    while await again.last_seq() <= checkpoint:
        other.do("fill", len(other.events), 5)
        again.store("b", other.events[await again.last_seq() - len(story.events) + 5])
    projector = await caught_up(url, again)
    assert projector.status.rebuilds == 1
    assert f"at {checkpoint} the log has b.1." in projector.status.reason
    await assert_equal(url, again)


async def test_a_projection_of_another_version_is_made_again_and_not_read_meanwhile(url):
    log = log_of(a=busy_story(13, 40))
    await caught_up(url, log)
    await execute(url, update(schema.meta).values(version="0.9"))
    async with open_projection(url) as projection:
        with pytest.raises(ProjectionMissing, match=r"version 0\.9"):
            await projection.instances()
    projector = await caught_up(url, log)
    assert "version 0.9" in projector.status.reason
    await assert_equal(url, log)


async def test_no_projection_is_a_named_error(url):
    async with open_projection(url) as projection:
        with pytest.raises(ProjectionMissing):
            await projection.instances()


async def test_a_trimmed_log_is_projected_from_the_oldest_snapshot_that_is_left(url):
    story = busy_story(14, 120)
    log = log_of(a=story)
    last = await log.last_seq()
    for at in (last // 4, last // 2, 3 * last // 4):
        await log.save_snapshot(snapshot_of("a", story.events, at, at))
    await log.trim("a", last // 2)
    with capture_logs() as said:
        await caught_up(url, log, instances=["a"])
    assert {"instance": "a", "seq": last // 2} in [{k: line[k] for k in ("instance", "seq") if k in line} for line in said]
    await assert_equal(url, log)
    rows = await journal_of(url)
    assert [row.seq for row in rows] == list(range(last // 2 + 1, last + 1))
    key, slot = next(iter(story.state.tiers["g1"].lineage.index.items()))
    async with open_projection(url) as projection:
        assert [block.slot for block in await projection.blocks(key) if block.tier == "g1"] == [slot]
        assert any(stay.to_seq is None for stay in await projection.stays(key))


async def test_an_instance_whose_beginning_was_trimmed_is_found_when_it_writes_again(url):
    story, fresh = busy_story(15, 60), busy_story(16, 20)
    log = log_of(a=story)
    last = await log.last_seq()
    await log.save_snapshot(snapshot_of("a", story.events, last, last))
    await log.trim("a", last)
    for event in fresh.events:
        log.store("b", event)
    await caught_up(url, log)  # nobody has told it of either
    before = len(story.events)
    story.fill("request-9", 2, 5)
    for event in story.events[before:]:
        log.store("a", event)
    projector = await caught_up(url, log)
    assert "the beginning of a was trimmed" in projector.status.reason
    found = await assert_equal(url, log)
    assert found.blocks


async def test_trimming_up_to_the_checkpoint_does_not_cost_the_journal(url):
    story = busy_story(17, 60)
    log = log_of(a=story)
    last = await log.last_seq()
    await caught_up(url, log)
    await log.save_snapshot(snapshot_of("a", story.events, last, last))
    await log.trim("a", last)
    before = len(story.events)
    story.fill("request-9", 2, 5)
    for event in story.events[before:]:
        log.store("a", event)
    projector = await caught_up(url, log)
    assert projector.status.rebuilds == 0
    await assert_equal(url, log)
    assert [row.seq for row in await journal_of(url)] == list(range(1, len(story.events) + 1))


async def test_a_projection_that_was_left_behind_by_trimming_begins_with_a_snapshot(url):
    story = busy_story(18, 80)
    log = log_of(a=story)
    last = await log.last_seq()
    await caught_up(url, log, last // 3)
    await log.save_snapshot(snapshot_of("a", story.events, last // 2, last // 2))
    await log.trim("a", last // 2)
    projector = await caught_up(url, log)
    assert projector.status.rebuilds == 1
    await assert_equal(url, log)


async def test_a_trimmed_log_without_a_snapshot_is_a_named_error(url):
    story = busy_story(19, 30)
    log = log_of(a=story)
    snapshot = snapshot_of("a", story.events, 10, 10)
    await log.save_snapshot(snapshot)
    await log.trim("a", 10)
    log._snapshots.clear()
    with pytest.raises(LogGap, match="no snapshot"):
        await Projector(log, url, instances=["a"]).run(20)


async def test_stale_and_restart_by_digest_do_not_hide_a_difference(url):
    """Rows that are not what the log says are found when the projector starts, by epoch and number."""
    log = log_of(a=busy_story(20, 40))
    await caught_up(url, log)
    await execute(url, update(schema.instance).values(n=99))
    projector = await caught_up(url, log)
    assert "in the projection" in projector.status.reason
    await assert_equal(url, log)


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
