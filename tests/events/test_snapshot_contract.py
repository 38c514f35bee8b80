"""Snapshots and trims, as every log promises them."""

from __future__ import annotations

import pytest

from kvbm_events.codec import decode
from kvbm_events.log import SNAPSHOTS_KEPT, Log
from kvbm_events.schema.errors import Fenced, LogGap
from support.samples import (
    append_and_settle,
    in_order,
    open_and_write,
    opened,
    read_all,
    released,
    small_events,
    snapshot,
)


async def test_the_newest_snapshot_at_or_before(log: Log, instance: str):
    assert await log.load_snapshot(instance) is None
    for seq in (10, 30, 20):
        await log.save_snapshot(snapshot(instance, seq))
    await log.save_snapshot(snapshot(f"{instance}-other", 25))
    assert await log.load_snapshot(instance) == snapshot(instance, 30)
    assert await log.load_snapshot(instance, 29) == snapshot(instance, 20)
    assert await log.load_snapshot(instance, 20) == snapshot(instance, 20)
    assert await log.load_snapshot(instance, 9) is None


async def test_a_snapshot_of_the_same_position_replaces(log: Log, instance: str):
    await log.save_snapshot(snapshot(instance, 10, b"first"))
    await log.save_snapshot(snapshot(instance, 10, b"second"))
    assert await log.load_snapshot(instance) == snapshot(instance, 10, b"second")


async def test_large_and_empty_states_come_back_whole(log: Log, instance: str):
    large = bytes(range(256)) * 6000
    await log.save_snapshot(snapshot(instance, 1, large))
    await log.save_snapshot(snapshot(instance, 2, b""))
    assert await log.load_snapshot(instance, 1) == snapshot(instance, 1, large)
    assert await log.load_snapshot(instance) == snapshot(instance, 2, b"")


async def test_the_oldest_snapshots_go(log: Log, instance: str):
    for seq in range(1, SNAPSHOTS_KEPT + 3):
        await log.save_snapshot(snapshot(instance, seq))
    assert await log.load_snapshot(instance, 2) is None
    assert await log.load_snapshot(instance, 3) == snapshot(instance, 3)


async def test_trimming_needs_a_snapshot(log: Log, instance: str):
    await open_and_write(log, instance, 1, 9)
    seqs = [entry.seq for entry in await read_all(log, instance)]
    with pytest.raises(LogGap, match="it has no snapshot"):
        await log.trim(instance, seqs[0])
    await log.save_snapshot(snapshot(instance, seqs[4]))
    with pytest.raises(LogGap, match="its newest snapshot is at"):
        await log.trim(instance, seqs[5])
    assert len(await read_all(log, instance)) == 10


async def test_a_trim_drops_the_prefix_of_one_instance(log: Log, instance: str):
    start, other = await log.last_seq(), f"{instance}-other"
    await open_and_write(log, instance, 1, 9)
    await open_and_write(log, other, 1, 9)
    seqs = [entry.seq for entry in await read_all(log, instance)]
    size_bytes = (await log.info()).size_bytes
    await log.save_snapshot(snapshot(instance, seqs[4]))
    await log.trim(instance, seqs[4])
    await log.trim(instance, seqs[2])

    left = await read_all(log, instance, after=seqs[4])
    assert [entry.seq for entry in left] == seqs[5:]
    for after in (0, seqs[3]):
        with pytest.raises(LogGap, match="are gone"):
            await read_all(log, instance, after=after)
    with pytest.raises(LogGap):
        await read_all(log, after=start)
    assert len(await read_all(log, other)) == 10
    assert await log.position(seqs[4]) is None
    assert (await log.info()).size_bytes < size_bytes


async def test_a_trim_at_the_edge_of_an_epoch_is_seen(log: Log, instance: str):
    await open_and_write(log, instance, 1, 4)
    edge = await log.last_seq(instance)
    await open_and_write(log, instance, 2, 4)
    await log.save_snapshot(snapshot(instance, edge))
    await log.trim(instance, edge)
    with pytest.raises(LogGap):
        await read_all(log, instance)
    assert len(in_order(await read_all(log, instance, after=edge))) == 5


async def test_the_last_entry_stays_so_that_a_claim_can_be_compared(log: Log, instance: str):
    await open_and_write(log, instance, 1, 4)
    last = await log.last_seq(instance)
    await log.save_snapshot(snapshot(instance, last))
    await log.trim(instance, last)
    assert await log.last_seq(instance) == last
    with pytest.raises(Fenced):
        await log.open_writer(instance, opened(2), last - 1)
    await log.open_writer(instance, opened(2), last)


async def test_a_writer_outlives_the_trim_of_its_own_beginning(log: Log, instance: str):
    writer = await open_and_write(log, instance, 1, 30)
    last = await log.last_seq(instance)
    await log.save_snapshot(snapshot(instance, last))
    await log.trim(instance, last)
    await append_and_settle(writer, small_events(1, 31, 30))
    assert [decode(entry.data).n for entry in await read_all(log, instance, after=last)] == list(range(31, 61))

    await open_and_write(log, instance, 2, 1)
    with pytest.raises(Fenced):
        await append_and_settle(writer, [released(1, 61)])
