"""Any moment of an instance, from the projection's snapshots and its journal: the state that a fold from the beginning has."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import delete, func, select

from explain.played import Engine
from kvbm_events.memory import MemoryLog
from kvbm_events.schema.errors import InvalidCommand
from kvbm_events.sequencer import Sequencer
from kvbm_nats.projection import Projector, follower, open_projection, schema, snapshots
from kvbm_nats.traces import Workload, generate
from kvbm_statemachine import State, digest, evolve
from projection.checks import caught_up, execute, snapshot_of
from projection.histories import Story, busy_story, log_of

POSITIONS = 100


async def digests(log, wanted):
    """The digest of each instance after each of these sequences, folded from the beginning."""
    states, sequencer, found = {}, Sequencer(), {}
    async for batch in log.read(until=await log.last_seq()):
        for entry in batch:
            for ordered in sequencer.feed(entry):
                evolve(states.setdefault(ordered.instance, State()), ordered.event)
            if entry.seq in wanted:
                found[entry.seq] = {name: digest(state) for name, state in states.items()}
    return found


async def snapshots_in(projection):
    async with projection.connection() as connection:
        return await connection.scalar(select(func.count()).select_from(schema.snapshot))


async def assert_travels(url, log, positions):
    expected = await digests(log, set(positions))
    async with open_projection(url) as projection:
        for seq in positions:
            for name, wanted in expected[seq].items():
                assert digest(await projection.state(name, seq)) == wanted, f"{name} at {seq}"
        return await snapshots_in(projection)


async def test_a_hundred_moments_of_generated_traffic(tmp_path):
    log = MemoryLog()
    for name, plan, seed in (("a", "g1=400,g2=900", 1), ("b", "g1=300:arc,g2=500:selective/2", 2)):
        trace = list(generate(Workload(seed=seed, requests=400)))
        Engine(log, name, plan, "model=test", overlap=2).play(trace)
    url = str(tmp_path / "projection.db")
    await caught_up(url, log)
    positions = sorted(random.Random(7).sample(range(1, await log.last_seq() + 1), POSITIONS))
    assert await assert_travels(url, log, positions) >= 2, "a history too short for snapshots proves little"


@pytest.fixture
def many_snapshots(monkeypatch):
    """A snapshot at the end of almost every transaction, and small transactions."""
    monkeypatch.setattr(snapshots, "WEIGHT_MIN", 1)
    monkeypatch.setattr(snapshots, "WEIGHT_PER_BLOCK", 0)
    monkeypatch.setattr(follower, "WRITE_EVENTS", 16)


@pytest.mark.usefixtures("many_snapshots")
async def test_every_moment_of_every_command(url):
    log = log_of(owned=busy_story(21, 60), observed=busy_story(22, 60, observed=True))
    await caught_up(url, log)
    taken = await assert_travels(url, log, range(1, await log.last_seq() + 1))
    assert taken >= 10


@pytest.mark.usefixtures("many_snapshots")
async def test_events_that_came_late_or_in_vain(url):
    story, at = busy_story(23, 60), 40
    events = story.events
    events[at : at + 4] = [events[at + 3], events[at + 1], events[at], events[at + 2]]
    log = log_of(a=story)
    log.store("a", events[5])
    await caught_up(url, log)
    await assert_travels(url, log, range(1, await log.last_seq() + 1))


async def test_without_any_snapshot_the_journal_is_enough(url):
    log = log_of(a=busy_story(24, 40))
    await caught_up(url, log)
    await execute(url, delete(schema.snapshot))
    assert await assert_travels(url, log, range(1, await log.last_seq() + 1, 7)) == 0


async def test_a_projector_that_is_started_again_goes_on_with_its_snapshots(url, monkeypatch):
    monkeypatch.setattr(snapshots, "WEIGHT_MIN", 1500)
    monkeypatch.setattr(snapshots, "WEIGHT_PER_BLOCK", 0)
    log = log_of(a=busy_story(25, 300))
    last = await log.last_seq()
    for until in range(10, last, 10):
        await Projector(log, url).run(until)
    async with open_projection(url) as projection:
        assert await snapshots_in(projection) >= last * snapshots.EVENT_WEIGHT // 1500 - 1


async def test_of_a_trimmed_instance_what_comes_after_the_snapshot(url):
    story = busy_story(26, 60)
    log, at = log_of(a=story), 30
    whole = log_of(a=story)
    snapshot = snapshot_of("a", story.events, at, at)
    await log.save_snapshot(snapshot)
    await log.trim("a", at)
    await caught_up(url, log)
    last = await log.last_seq()
    await assert_travels(url, whole, range(at, last + 1))
    async with open_projection(url) as projection:
        with pytest.raises(InvalidCommand, match="has nothing of instance 'a' up to sequence 29"):
            await projection.state("a", at - 1)


async def test_before_the_beginning_and_of_nobody(url):
    story = Story()
    await caught_up(url, log_of(a=story))
    async with open_projection(url) as projection:
        for name, seq in (("a", 0), ("nobody", 1)):
            with pytest.raises(InvalidCommand, match="has nothing of instance"):
                await projection.state(name, seq)


async def test_a_time_is_the_last_entry_before_what_is_later(url):
    story = Story()
    for at in range(40):
        story.desk.now_us += 1000
        story.fill(f"request-{at}", at, 3)
    log = log_of(a=story)
    await caught_up(url, log)
    times = [event.at_us for event in story.events]
    async with open_projection(url) as projection:
        for at_us in {*times, times[0] - 1, times[-1] + 1, times[9] + 500}:
            assert await projection.seq_at(at_us) == sum(time <= at_us for time in times)


async def test_reads_within_a_moment_do_not_see_what_comes(url):
    story = busy_story(27, 20)
    log = log_of(a=story)
    await caught_up(url, log)
    async with open_projection(url) as projection:
        async with projection.one_moment():
            before = await projection.position()
            log.store("b", story.events[0])
            await caught_up(url, log)
            async with projection.one_moment():
                assert await projection.position() == before
            assert [row.name for row in await projection.instances()] == ["a"]
        assert (await projection.position()).seq == before.seq + 1
