"""Folding a log again, and comparing it with what others say."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kvbm_events.log import Entry
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand, LogGap
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_nats.replay import Moment, export, parse_moment, verify
from kvbm_nats.replay.verify import Claim
from support.chained_keys import prefix

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def write(log, *, prompts=12, snapshot_after=None):
    """A history of prompts that evict each other, and the live owner's claim at its end."""
    tiers = [TierSpec(tier="g1", capacity=16), TierSpec(tier="g2", capacity=32)]
    with BlockManager.open(log, "i", namespace="n=1", tiers=tiers, options=Options(snapshot_every=0)) as owner:
        for number in range(prompts):
            keys = prefix([0, 0, number, number])
            found = sum(len(hit.slots) for hit in owner.match(f"r{number}", keys) if hit.tier == "g1")
            if found < 4:
                slots = owner.allocate(f"r{number}", 4 - found)
                owner.register(f"r{number}", slots, keys[found:], parent=keys[found - 1] if found else "")
            owner.release(f"r{number}")
            owner.settle()
            if number == snapshot_after:
                owner.snapshot()
        owner.flush()
        status = owner.status(with_digest=True)
    return Claim(who="the live owner", epoch=status.epoch, n=status.n, digest=status.digest)


async def test_a_log_is_equal_to_its_owner_and_its_snapshots():
    log = MemoryLog()
    live = write(log, snapshot_after=5)
    verdict = await verify(log, "i", live=live)
    assert verdict.is_equal
    assert (verdict.compared, verdict.digest, verdict.n) == (2, live.digest, live.n)
    assert (verdict.flaws, verdict.unchecked, verdict.began_at) == ([], [], 0)


async def test_a_difference_is_named():
    log = MemoryLog()
    write(log, snapshot_after=5)
    ((place, snapshot),) = log._snapshots.items()
    dumped = msgspec.msgpack.decode(snapshot.state)
    dumped["tiers"][1]["states"] = b"\x00" + dumped["tiers"][1]["states"][1:]
    damaged = msgspec.structs.replace(snapshot, state=msgspec.msgpack.encode(dumped), digest="0" * 32)
    log._snapshots[place] = damaged
    verdict = await verify(log, "i")
    assert not verdict.is_equal
    assert f"the snapshot at {snapshot.seq} differ: state.tiers[1]" in verdict.difference


async def test_the_live_owners_word_is_compared_too():
    log = MemoryLog()
    live = write(log)
    verdict = await verify(log, "i", live=msgspec.structs.replace(live, digest="f" * 32))
    assert "the live owner differ" in verdict.difference


async def test_with_nobody_to_compare_with_it_is_not_called_equal():
    log = MemoryLog()
    write(log)
    verdict = await verify(log, "i")
    assert not verdict.is_equal
    assert verdict.flaws == []


async def test_a_missing_event_is_a_gap():
    log = MemoryLog()
    live = write(log)
    del log._entries[10]
    log._entries[:] = [Entry(seq, entry.subject, entry.data) for seq, entry in enumerate(log._entries, 1)]
    log._last["i"] = len(log._entries)
    with pytest.raises(LogGap, match=r"i\.1\.10 is missing"):
        await verify(log, "i", live=live)


async def test_an_event_that_cannot_be_applied_stops_it_with_its_sequence():
    log = MemoryLog()
    write(log)
    twice = next(entry for entry in log._entries if b'"Allocated"' in entry.data)
    event = msgspec.json.decode(twice.data)
    event["n"] = len(log._entries)
    log._entries.append(Entry(len(log._entries) + 1, twice.subject, msgspec.json.encode(event)))
    log._last["i"] = len(log._entries)
    with pytest.raises(IllegalTransition, match=f"at sequence {len(log._entries)} cannot be applied"):
        await verify(log, "i")


async def test_it_stops_at_a_sequence_and_at_a_time():
    log = MemoryLog()
    write(log)
    verdict = await verify(log, "i", until=Moment(seq=20))
    assert (verdict.seq, verdict.events) == (20, 20)
    at_us = msgspec.json.decode(log._entries[29].data)["at_us"]
    verdict = await verify(log, "i", until=Moment(at_us=at_us))
    assert verdict.seq >= 30
    assert all(msgspec.json.decode(entry.data)["at_us"] > at_us for entry in log._entries[verdict.seq :])


async def test_a_snapshot_that_cannot_be_read_is_a_difference_with_its_reason():
    log = MemoryLog()
    write(log, snapshot_after=5)
    ((place, snapshot),) = log._snapshots.items()
    log._snapshots[place] = msgspec.structs.replace(snapshot, state=b"damaged", digest="0" * 32)
    verdict = await verify(log, "i")
    assert not verdict.is_equal
    assert f"the snapshot at {snapshot.seq} differ: this snapshot cannot be read" in verdict.difference


async def test_a_trimmed_log_whose_snapshot_is_damaged_is_a_gap():
    log = MemoryLog()
    write(log, snapshot_after=5)
    ((place, snapshot),) = log._snapshots.items()
    await log.trim("i", snapshot.seq)
    log._snapshots[place] = msgspec.structs.replace(snapshot, state=snapshot.state + b" ")
    with pytest.raises(LogGap):
        await verify(log, "i")


async def test_a_trimmed_log_is_folded_from_its_oldest_snapshot():
    log = MemoryLog()
    live = write(log, snapshot_after=5)
    (snapshot,) = log._snapshots.values()
    await log.trim("i", snapshot.seq)
    verdict = await verify(log, "i", live=live)
    assert verdict.is_equal
    assert verdict.began_at == snapshot.seq


async def test_an_instance_that_is_not_there_is_said_to_be_so():
    with pytest.raises(LogGap, match="'nobody' has no events"):
        await verify(MemoryLog(), "nobody")


async def test_an_export_has_every_event_byte_for_byte(tmp_path):
    log = MemoryLog()
    write(log, prompts=4)
    file = tmp_path / "events.jsonl"
    assert await export(log, file, instance="i") == len(log._entries)
    lines = file.read_bytes().splitlines()
    assert [msgspec.json.decode(line)["seq"] for line in lines] == [entry.seq for entry in log._entries]
    assert all(entry.data in line for line, entry in zip(lines, log._entries, strict=True))
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(InvalidCommand, match="there already"):
        await export(log, file)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1204551", Moment(seq=1204551)),
        ("-30s", Moment(at_us=int((NOW - timedelta(seconds=30)).timestamp() * 1e6))),
        ("-1.5h", Moment(at_us=int((NOW - timedelta(hours=1.5)).timestamp() * 1e6))),
        ("2026-11-24T11:00:00", Moment(at_us=int((NOW - timedelta(hours=1)).timestamp() * 1e6))),
        ("2026-11-24T13:00:00+02:00", Moment(at_us=int((NOW - timedelta(hours=1)).timestamp() * 1e6))),
        ("11:59:59.5", Moment(at_us=int((NOW - timedelta(seconds=0.5)).timestamp() * 1e6))),
    ],
)
def test_a_moment_is_a_sequence_a_time_or_ago(text, moment):
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "-30", "-30y", "25:00:00", "2026-13-01"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(InvalidCommand, match="is no moment"):
        parse_moment(text, NOW)
