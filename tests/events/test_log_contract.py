"""What every log promises: the same tests over the log in memory and the one in JetStream."""

from __future__ import annotations

import asyncio

import pytest

from kvbm_events.codec import decode
from kvbm_events.log import Log, Position
from kvbm_events.schema.errors import Fenced, InvalidCommand, LogFull, LogGap, LogUnavailable
from kvbm_events.subjects import message_id, subject_of
from support.samples import (
    SMALL_LOG_BYTES,
    Acks,
    append_and_settle,
    follow,
    in_order,
    open_and_write,
    opened,
    read_all,
    registered,
    released,
    small_events,
    snapshot,
)

# Writing and reading


@pytest.mark.parametrize("count", [1, 15, 16, 300, 2500])
async def test_what_is_appended_is_read_in_order(log: Log, instance: str, count: int):
    await open_and_write(log, instance, 1, count)
    entries = await read_all(log, instance)
    events = [opened(1), *small_events(1, 1, count)]
    assert [decode(entry.data) for entry in entries] == events
    assert [entry.subject for entry in entries] == [subject_of(instance, event) for event in events]
    seqs = [entry.seq for entry in entries]
    assert seqs == sorted(set(seqs))


async def test_appends_of_any_size_keep_their_order(log: Log, instance: str):
    writer = await log.open_writer(instance, opened(1), 0)
    n = 1
    for count in (1, 40, 1, 1, 500, 3, 16, 1200, 2, 15, 17, 1):
        await writer.append(small_events(1, n, count))
        n += count
    await writer.settle()
    assert [decode(entry.data).n for entry in await read_all(log, instance)] == list(range(n))


async def test_large_and_small_events_keep_their_order(log: Log, instance: str):
    writer = await log.open_writer(instance, opened(1), 0)
    events = [registered(1, n, 512) if n % 3 else released(1, n) for n in range(1, 600)]
    await writer.append(events)
    await writer.close()
    assert in_order(await read_all(log, instance)) == [opened(1), *events]


async def test_acknowledgements_tell_how_far_the_log_is_whole(log: Log, instance: str):
    acks = Acks()
    writer = await log.open_writer(instance, opened(1), 0, acks)
    assert (writer.acked_n, acks.seen) == (0, [0])
    await writer.append(small_events(1, 1, 100))
    await writer.settle()
    assert writer.acked_n == 100
    assert acks.seen == sorted(set(acks.seen))
    assert acks.seen[-1] == 100


async def test_settling_nothing_returns(log: Log, instance: str):
    writer = await log.open_writer(instance, opened(1), 0)
    await writer.append([])
    await writer.settle()
    assert writer.acked_n == 0


@pytest.mark.parametrize("event", [released(1, 3), released(1, 1), released(2, 2)], ids=["gap", "again", "other epoch"])
async def test_only_the_next_event_is_taken(log: Log, instance: str, event):
    writer = await log.open_writer(instance, opened(1), 0)
    await writer.append([released(1, 1)])
    with pytest.raises(InvalidCommand, match=r"goes on with 1\.2"):
        await writer.append([event])
    await writer.append([released(1, 2)])
    await writer.settle()
    assert len(await read_all(log, instance)) == 3


async def test_after_and_until_are_exact(log: Log, instance: str):
    await open_and_write(log, instance, 1, 9)
    seqs = [entry.seq for entry in await read_all(log, instance)]
    for low in range(0, 10, 3):
        for high in range(low, 10, 2):
            found = await read_all(log, instance, after=seqs[low], until=seqs[high])
            assert [entry.seq for entry in found] == seqs[low + 1 : high + 1]


async def test_until_between_an_instances_entries_and_beyond_the_end(log: Log, instance: str):
    start = await log.last_seq()
    await open_and_write(log, instance, 1, 4)
    await open_and_write(log, f"{instance}-other", 1, 4)
    await open_and_write(log, instance, 2, 4)
    own = [entry.seq for entry in await read_all(log, instance)]
    between = await read_all(log, instance, after=start, until=own[4] + 3)
    assert [entry.seq for entry in between] == own[:5]
    beyond = await read_all(log, instance, after=own[6], until=own[-1] + 1000)
    assert [entry.seq for entry in beyond] == own[7:]
    assert await read_all(log, instance, after=own[-1], until=own[-1]) == []
    assert await read_all(log, f"{instance}-none") == []


async def test_all_instances_are_read_together(log: Log, instance: str):
    start = await log.last_seq()
    for name in ("x", "y"):
        await open_and_write(log, f"{instance}-{name}", 1, 300)
    entries = await read_all(log, after=start)
    assert [entry.seq for entry in entries] == list(range(start + 1, start + 603))
    assert await log.last_seq() == start + 602
    assert await log.last_seq(f"{instance}-x") == start + 301


async def test_instances_are_listed_also_after_a_trim(log: Log, instance: str):
    assert instance not in await log.instances()
    await open_and_write(log, instance, 1, 3)
    await open_and_write(log, f"{instance}-other", 1, 1)
    last = await log.last_seq(instance)
    await log.save_snapshot(snapshot(instance, last))
    await log.trim(instance, last)
    names = await log.instances()
    assert names == sorted(names)
    assert {instance, f"{instance}-other"} <= set(names)


async def test_a_reader_that_follows_gets_what_comes(log: Log, instance: str):
    start = await log.last_seq()
    one = asyncio.create_task(follow(log, instance, 0, 700))
    all_ = asyncio.create_task(follow(log, None, start, 700))
    writer = await log.open_writer(instance, opened(1), 0)
    for n in range(1, 700, 3):
        await writer.append(small_events(1, n, 3))
        await writer.settle()
    assert [decode(entry.data).n for entry in await one] == list(range(700))
    assert len(await all_) >= 700


async def test_a_reader_beyond_the_end_finds_a_gap(log: Log, instance: str):
    await open_and_write(log, instance, 1, 1)
    with pytest.raises(LogGap, match="the log ends at"):
        await read_all(log, instance, after=await log.last_seq() + 1, until=10**9)


async def test_positions_name_the_event(log: Log, instance: str):
    await open_and_write(log, instance, 3, 5)
    last = await log.last_seq(instance)
    assert await log.position(last) == Position(last, message_id(instance, 3, 5))
    assert await log.position(last + 1) is None
    assert await log.position(0) is None


async def test_info_counts(log: Log, instance: str):
    before = await log.info()
    await open_and_write(log, instance, 1, 10)
    after = await log.info()
    assert after.last_seq == before.last_seq + 11
    assert after.size_bytes > before.size_bytes
    assert 0 < after.first_seq <= after.last_seq
    assert not after.durable
    assert after.warning


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "x" * 65])
async def test_a_name_that_is_no_token_is_refused(log: Log, name: str):
    with pytest.raises(InvalidCommand):
        await log.open_writer(name, opened(1), 0)


# Owning


async def test_the_next_epoch_goes_on_where_the_last_one_ended(log: Log, instance: str):
    for epoch in (1, 2, 7):
        writer = await open_and_write(log, instance, epoch, 3)
        await writer.close()
    events = in_order(await read_all(log, instance))
    assert [(event.epoch, event.n) for event in events] == [(e, n) for e in (1, 2, 7) for n in range(4)]


async def test_a_claim_after_an_old_entry_is_fenced(log: Log, instance: str):
    await open_and_write(log, instance, 1, 3)
    last = await log.last_seq(instance)
    with pytest.raises(Fenced):
        await log.open_writer(instance, opened(2), last - 1)
    with pytest.raises(Fenced):
        await log.open_writer(instance, opened(2), 0)
    assert await log.last_seq(instance) == last


async def test_a_claim_after_an_entry_that_never_was_finds_a_gap(log: Log, instance: str):
    await open_and_write(log, instance, 1, 3)
    with pytest.raises(LogGap):
        await log.open_writer(instance, opened(2), await log.last_seq(instance) + 1)


async def test_of_equal_claims_one_wins(log: Log, instance: str):
    """They have the same epoch, the same message id and the same bytes."""
    await open_and_write(log, instance, 1, 3)
    last = await log.last_seq(instance)
    claims = (log.open_writer(instance, opened(2), last) for _ in range(4))
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes)[:3] == ["Fenced"] * 3
    (winner,) = (outcome for outcome in outcomes if not isinstance(outcome, BaseException))
    await winner.append([released(2, 1)])
    await winner.settle()
    assert len(await read_all(log, instance)) == 6


async def test_a_superseded_owner_is_fenced_and_nothing_of_it_counts(log: Log, instance: str):
    old = await open_and_write(log, instance, 1, 3)
    new = await open_and_write(log, instance, 2, 3)
    with pytest.raises(Fenced):
        await append_and_settle(old, small_events(1, 4, 40))
    for call in (old.settle(), old.append([released(1, 44)])):
        with pytest.raises(Fenced):
            await call
    await old.close()
    assert old.acked_n == 3
    await new.append([released(2, 4)])
    await new.close()
    entries = await read_all(log, instance)
    assert [decode(entry.data).epoch for entry in entries] == [1] * 4 + [2] * 5


# Limits


async def test_a_full_log_refuses_and_goes_on_after_a_trim(small_log: Log, instance: str):
    writer = await small_log.open_writer(instance, opened(1), 0)
    with pytest.raises(LogFull, match="Try: trim"):
        await append_and_settle(writer, [registered(1, n, 64) for n in range(1, 60)])
    for call in (writer.settle(), writer.append([released(1, 60)])):
        with pytest.raises(LogFull):
            await call
    await writer.close()
    entries = await read_all(small_log, instance)
    assert [decode(entry.data).n for entry in entries][: writer.acked_n + 1] == list(range(writer.acked_n + 1))
    assert (await small_log.info()).bytes_max == SMALL_LOG_BYTES

    last = await small_log.last_seq(instance)
    await small_log.save_snapshot(snapshot(instance, last))
    await small_log.trim(instance, last)
    await open_and_write(small_log, instance, 2, 20)
    assert len(in_order(await read_all(small_log, instance, after=last))) == 21


async def test_a_claim_that_does_not_fit_is_refused(small_log: Log, instance: str):
    await open_and_write(small_log, instance, 1, 3)
    last = await small_log.last_seq(instance)
    with pytest.raises(LogFull):
        await small_log.open_writer(instance, opened(2, owner="o" * SMALL_LOG_BYTES), last)
    await small_log.open_writer(instance, opened(2), last)


# Closing


async def test_a_closed_writer_takes_nothing(log: Log, instance: str):
    writer = await log.open_writer(instance, opened(1), 0)
    await writer.append(small_events(1, 1, 40))
    await writer.close()
    assert writer.acked_n == 40
    with pytest.raises(LogUnavailable):
        await writer.append([released(1, 41)])
    await writer.close()


async def test_a_closed_log_ends_its_readers_and_fails_its_writers(log: Log, instance: str):
    writer = await open_and_write(log, instance, 1, 2)
    reader = log.read(instance)
    assert [decode(entry.data).n for entry in await anext(reader)] == [0, 1, 2]
    waiting = asyncio.ensure_future(anext(reader, None))
    await asyncio.sleep(0)
    await log.close()
    assert await asyncio.wait_for(waiting, 10) is None
    with pytest.raises(LogUnavailable, match="closed"):
        await append_and_settle(writer, [released(1, 3)])
    with pytest.raises(LogUnavailable, match="closed"):
        await log.open_writer(instance, opened(2), 0)
