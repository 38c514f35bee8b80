"""An engine that knows nothing of us, followed by its own events: in order, through gaps, and over its restart."""

import asyncio
import time

import msgspec
import pytest

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema import TierSpec
from kvbm_nats.bridge import Bridge, Feed
from kvbm_nats.bridge.wire import Cleared, InvalidEngineEvent, Removed, Stored, decode_batch
from kvbm_nats.replay import verify
from support.publishers import Publisher, removed, stored
from support.service import Command

TIERS = [TierSpec(tier=tier, capacity=64, control="observed") for tier in ("g1", "g2")]
HASHES = [bytes([at]) * 32 for at in range(1, 9)]
KEYS = [each[:16].hex() for each in HASHES]
TIMEOUT_S = 10.0


@pytest.fixture
def engine():
    with Publisher() as engine:
        yield engine


@pytest.fixture
def follow(nats_url, instance):
    """Bridges to an engine that are closed in the end."""
    opened = []

    def start(engine, *, with_replay=True):
        feed = Feed(engine.url, replay_url=engine.replay_url if with_replay else "")
        opened.append((feed, Bridge(feed, nats_url, instance, namespace="n=1", tiers=TIERS)))
        assert engine.is_subscribed(TIMEOUT_S)
        return opened[-1][1]

    yield start
    for feed, bridge in opened:
        bridge.close()
        feed.close()


def until(bridge, reached):
    end = time.monotonic() + TIMEOUT_S
    while not reached():
        assert time.monotonic() < end, (bridge.messages, bridge.breaks)
        bridge.run_once(0.05)


def keys_of(bridge, tier="g1"):
    return set(bridge.manager.state.tiers[tier].lineage.index)


def test_blocks_come_and_go(engine, follow):
    bridge = follow(engine)
    engine.say(stored(HASHES[:3]), stored(HASHES[3:5], HASHES[2]))
    engine.say(removed(HASHES[1:2]), stored(HASHES[:2], medium="CPU"))
    until(bridge, lambda: bridge.messages == 2)
    assert keys_of(bridge) == {KEYS[0], *KEYS[2:5]}
    assert keys_of(bridge, "g2") == set(KEYS[:2])
    lineage = bridge.manager.state.tiers["g1"].lineage
    assert lineage.parent_of(lineage.index[KEYS[3]]) == KEYS[2]
    engine.say(stored(HASHES[:2]))
    engine.say({"type": "AllBlocksCleared"})
    until(bridge, lambda: bridge.messages == 4)
    assert not keys_of(bridge)
    assert not bridge.manager.check_integrity()
    assert bridge.breaks == 0


def test_a_gap_is_filled_from_the_ring(engine, follow):
    bridge = follow(engine)
    engine.say(stored(HASHES[:1]))
    until(bridge, lambda: bridge.messages == 1)
    engine.say(stored(HASHES[1:2], HASHES[0]), is_lost=True)
    engine.say(removed(HASHES[:1]), is_lost=True)
    engine.say(stored(HASHES[2:3], HASHES[1]))
    until(bridge, lambda: bridge.messages == 4)
    assert keys_of(bridge) == {KEYS[1], KEYS[2]}
    assert (bridge.breaks, bridge.manager.state.epoch) == (0, 1)


@pytest.mark.parametrize("with_replay", [False, True])
def test_a_gap_that_cannot_be_filled_begins_an_epoch_that_says_so(follow, with_replay):
    with Publisher(ring=1) as engine:
        bridge = follow(engine, with_replay=with_replay)
        engine.say(stored(HASHES[:1]))
        until(bridge, lambda: bridge.messages == 1)
        engine.say(removed(HASHES[:1]), is_lost=True)
        engine.say(stored(HASHES[1:2]))
        until(bridge, lambda: bridge.messages == 2)
        assert keys_of(bridge) == {KEYS[1]}
        assert (bridge.breaks, bridge.manager.state.epoch) == (1, 2)


async def test_the_log_tells_why(engine, follow, nats_url, instance):
    bridge = follow(engine, with_replay=False)
    engine.say(stored(HASHES[:1]))
    engine.say(removed(HASHES[:1]), is_lost=True)
    engine.say(stored(HASHES[1:2]))
    until(bridge, lambda: bridge.messages == 2)
    bridge.manager.flush()
    log = await JetStreamLog.connect(nats_url)
    try:
        bodies = [
            entry.data async for batch in log.read(instance, until=await log.last_seq(instance)) for entry in batch
        ]
        assert not (await verify(log, instance)).flaws
    finally:
        await log.close()
    (said,) = [body for body in bodies if b'"Opened"' in body and b"lost" in body]
    assert b"messages 1 to 1 of the engine are lost, and no replay socket was named" in said


def test_who_comes_late_is_told_what_was_before(engine, follow):
    engine.say(stored(HASHES[:2]))
    bridge = follow(engine)
    engine.say(stored(HASHES[2:3], HASHES[1]))
    until(bridge, lambda: bridge.messages == 2)
    assert keys_of(bridge) == set(KEYS[:3])
    assert bridge.breaks == 0


def test_an_engine_that_was_started_again(follow):
    with Publisher() as engine:
        bridge = follow(engine)
        engine.say(stored(HASHES[:2]))
        until(bridge, lambda: bridge.messages == 1)
        ports = engine.port, engine.replay_port
    with Publisher(*ports) as again:
        until(bridge, again.is_subscribed)
        again.say(stored(HASHES[4:5]))  # its number may be the next one all the same
        again.say(stored(HASHES[5:6]))
        until(bridge, lambda: bridge.messages == 3)
        assert keys_of(bridge) == set(KEYS[4:6])
        assert (bridge.breaks, bridge.manager.state.epoch) == (1, 2)


def test_bytes_that_are_no_batch_break_the_thread(engine, follow):
    bridge = follow(engine)
    engine.say(stored(HASHES[:1]))
    engine.say_raw(b"\xc1not msgpack")
    engine.say(stored(HASHES[1:2]))
    until(bridge, lambda: bridge.messages == 2)
    assert keys_of(bridge) == {KEYS[1]}
    assert bridge.breaks == 1


def test_an_engine_with_more_blocks_than_were_said(engine, follow):
    bridge = follow(engine)
    many = [bytes([at]) * 32 for at in range(70)]
    engine.say(stored(many[:60]), stored(many[60:], many[59]), stored(HASHES[:1], medium="STORAGE"))
    until(bridge, lambda: bridge.messages == 1)
    assert len(keys_of(bridge)) == 60
    assert bridge._recorder.unrecorded == 11


@pytest.mark.parametrize(
    ("event", "meaning"),
    [
        (stored([5], 4), Stored("g1", [f"{5:032x}"], f"{4:032x}")),
        (["BlockStored", [5], None, [], 16, None, "CPU"], Stored("g2", [f"{5:032x}"], "")),
        (["BlockRemoved", [-1]], Removed("g1", [f"{(1 << 64) - 1:032x}"])),
        (["AllBlocksCleared"], Cleared()),
        ({"type": "SomethingNew", "x": 1}, None),
    ],
)
def test_both_forms_of_an_event_are_read(event, meaning):
    batch = msgspec.msgpack.encode([0.0, [event], None])
    assert decode_batch(batch) == ([meaning] if meaning else [])


def test_a_block_of_another_group_is_another_block():
    first, second = decode_batch(msgspec.msgpack.encode([0.0, [stored(HASHES[:1]), stored(HASHES[:1], group_idx=1)]]))
    assert first.keys == KEYS[:1]
    assert second.keys != first.keys


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x00\x91\x2a\xc0", b"\x93\x00\x91\x81\xa1x\x01\xc0", b"\x01"])
def test_what_is_no_batch_is_refused_by_name(data):
    with pytest.raises(InvalidEngineEvent):
        decode_batch(data)


async def test_the_command(engine, nats_url, instance):
    command = Command("bridge", "--zmq", engine.url, "--nats-url", nats_url, "--instance", instance, "--tiers", "g1=64")
    await command.start("bridge listens")
    assert engine.is_subscribed(TIMEOUT_S)
    engine.say(stored(HASHES[:2]))
    log = await JetStreamLog.connect(nats_url)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for batch in log.read(instance):
                if any(b"Registered" in entry.data and KEYS[1].encode() in entry.data for entry in batch):
                    break
    finally:
        await log.close()
    assert await command.terminate() == 0
