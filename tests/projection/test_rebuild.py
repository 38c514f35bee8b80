"""When a projection must be made again, and from where, in every database."""

from __future__ import annotations

from itertools import count

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from kvbm_events.memory import MemoryLog
from kvbm_events.schema.errors import LogGap, LogUnavailable
from kvbm_events.subjects import instance_of
from kvbm_nats.projection import ProjectionMissing, Projector, open_projection, schema, start
from kvbm_statemachine.decide import match
from projection.checks import assert_equal, caught_up, execute, journal_of, snapshot_of
from projection.histories import Story, busy_story, chain, log_of


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
        await caught_up(url, log)
    assert {"instance": "a", "seq": last // 2} in [
        {k: line[k] for k in ("instance", "seq") if k in line} for line in said
    ]
    await assert_equal(url, log)
    rows = await journal_of(url)
    assert [row.seq for row in rows] == list(range(last // 2 + 1, last + 1))
    key, slot = next(iter(story.state.tiers["g1"].lineage.index.items()))
    async with open_projection(url) as projection:
        assert [block.slot for block in await projection.blocks(key) if block.tier == "g1"] == [slot]
        assert any(stay.to_seq is None for stay in await projection.stays(key))


async def test_an_instance_that_was_trimmed_and_rests_is_projected(url):
    story, fresh = busy_story(15, 60), busy_story(16, 20)
    log = log_of(a=story)
    last = await log.last_seq()
    await log.save_snapshot(snapshot_of("a", story.events, last, last))
    await log.trim("a", last)
    for event in fresh.events:
        log.store("b", event)
    await caught_up(url, log)
    assert (await assert_equal(url, log)).instances == 2
    match(story.desk, "request-9", chain(2, 5))
    log.store("a", story.events[-1])
    projector = await caught_up(url, log)
    assert projector.status.rebuilds == 0
    await assert_equal(url, log)


async def test_trimming_up_to_the_checkpoint_does_not_cost_the_journal(url):
    story = busy_story(17, 60)
    log = log_of(a=story)
    last = await log.last_seq()
    await caught_up(url, log)
    await log.save_snapshot(snapshot_of("a", story.events, last, last))
    await log.trim("a", last)
    before = len(story.events)
    match(story.desk, "request-9", chain(2, 5))
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
        await Projector(log, url).run(20)


async def test_stale_and_restart_by_digest_do_not_hide_a_difference(url):
    """Rows that are not what the log says are found when the projector starts, by epoch and number."""
    log = log_of(a=busy_story(20, 40))
    await caught_up(url, log)
    await execute(url, update(schema.instance).values(n=99))
    projector = await caught_up(url, log)
    assert "in the projection" in projector.status.reason
    await assert_equal(url, log)


async def test_a_projector_that_meets_a_trim_on_its_way_goes_around_it(url):
    stories = {"a": busy_story(21, 60), "b": busy_story(22, 60)}
    log = log_of(**stories)
    seqs = {"a": [], "b": []}
    async for batch in log.read(until=await log.last_seq()):
        for entry in batch:
            seqs[instance_of(entry.subject)].append(entry.seq)
    await caught_up(url, log, seqs["b"][10])
    await log.save_snapshot(snapshot_of("b", stories["b"].events, 30, seqs["b"][29]))
    await log.trim("b", seqs["b"][29])
    projector = await caught_up(url, log)
    assert projector.status.rebuilds == 1
    assert (await assert_equal(url, log)).instances == 2
    async with open_projection(url) as projection:
        for name, own in (("a", seqs["a"]), ("b", seqs["b"][30:])):
            assert [row.seq for row in await projection.journal(name, limit=1000)] == own


async def test_a_catch_up_that_was_cut_short_begins_again(url, monkeypatch):
    stories = {"a": busy_story(23, 60), "b": busy_story(24, 60)}
    log = log_of(**stories)
    await log.save_snapshot(snapshot_of("a", stories["a"].events, 10, 16))
    await log.trim("a", 16)
    write, writes = start._write_without_position, count(1)

    async def cut_short(*arguments):
        await write(*arguments)
        if next(writes) == 2:
            raise LogUnavailable("the server is gone")

    with monkeypatch.context() as broken:
        broken.setattr(start, "_write_without_position", cut_short)
        broken.setattr(start, "WRITE_BYTES", 1)
        with pytest.raises(LogUnavailable):
            await caught_up(url, log)
    projector = await caught_up(url, log)
    assert projector.status.rebuilds == 1
    await assert_equal(url, log)
