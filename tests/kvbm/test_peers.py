"""Two owners over one object storage and one log: what one has put there, the other finds, reads, and never deletes."""

import asyncio
import time

import pytest

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import (
    Evicted,
    Matched,
    Noted,
    OnboardFailed,
    OnboardStarted,
    TierSpec,
    total,
    unpack_keys,
)
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.manager import BlockManager, Options
from kvbm_nats.replay import verify
from kvbm_statemachine.decide.lookup import Start
from kvbm_statemachine.lineage import NO_SLOT
from support.chained_keys import prefix
from support.nixl import marked
from support.object_owner import ObjectOwner
from support.s3_faults import Fault

KEYS = prefix([1] * 6)


class Pair:
    """An instance that writes, and one that follows it; each is opened when it is wanted."""

    def __init__(self, url, s3, folder, name):
        self.url, self._s3, self._folder = url, s3, folder
        self.writer, self.reader = f"{name}-a", f"{name}-b"

    def open_writer(self, **more):
        return ObjectOwner(self.url, self._folder / "a", self._s3.url("cache"), instance=self.writer, **more)

    def open_reader(self, **more):
        more = {"peers": [self.writer]} | more
        return ObjectOwner(self.url, self._folder / "b", self._s3.url("cache"), instance=self.reader, **more)

    def verified(self, instance):
        async def check():
            log = await JetStreamLog.connect(self.url)
            try:
                return await verify(log, instance)
            finally:
                await log.close()

        return asyncio.run(check())


@pytest.fixture(params=marked(["obstore", "nixl"]))
def pair(request, nats_url, s3, tmp_path, instance):
    s3.options = {"timeout_s": 4, "via": request.param}
    return Pair(nats_url, s3, tmp_path, instance)


def of_kind(site, kind):
    return [event for event in site.events() if isinstance(event, kind)]


def test_what_one_has_written_the_other_finds_and_reads_with_its_bytes(pair):
    with pair.open_writer() as a, pair.open_reader() as b:
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        (hit,) = b.owner.look(KEYS)
        assert (hit.tier, hit.slots) == ("g4", [NO_SLOT] * 6), "nothing was noted by looking"
        assert b.load(KEYS) == 6
        noted, started = of_kind(b, Noted), of_kind(b, OnboardStarted)
        assert [(event.writer, unpack_keys(event.keys)) for event in noted] == [(pair.writer, KEYS)]
        assert {event.writer for event in started} == {pair.writer}
        assert [event.found[0].tier for event in of_kind(b, Matched) if event.found] == ["g4"]
        assert b.objects() == set(), "nothing was written for it"
        a.owner.snapshot()
        b.owner.snapshot()
    for instance in (pair.writer, pair.reader):
        verdict = pair.verified(instance)
        assert verdict.is_equal
        assert verdict.compared >= 1


def test_a_look_up_goes_on_from_what_its_own_tiers_have_and_over_what_its_own_objects_have(pair):
    with pair.open_writer() as a, pair.open_reader() as b:
        b.compute(KEYS[:2])
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        hits = b.owner.match("r", KEYS)
        assert [(hit.tier, len(hit.slots)) for hit in hits] == [("g1", 2), ("g4", 4)]
        assert [(event.parent, unpack_keys(event.keys)) for event in of_kind(b, Noted)] == [(KEYS[1], KEYS[2:])]
        b.owner.release("r")
        assert b.load(KEYS[2:]) == 4


def test_a_look_up_that_begins_within_a_prompt_notes_what_was_before_it(pair):
    with pair.open_writer() as a, pair.open_reader() as b:
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        (hit,) = b.owner.match("r", KEYS[4:], start=Start(4, KEYS[3]))
        assert len(hit.slots) == 2
        assert [(event.parent, unpack_keys(event.keys)) for event in of_kind(b, Noted)] == [(KEYS[3], KEYS[4:])]
        b.owner.release("r")
        assert b.load(KEYS) == 6, "a prompt goes on over what a window has noted"
        assert b.owner.check_integrity() == []


def test_the_eviction_of_what_was_noted_leaves_the_writers_object(pair):
    with pair.open_writer() as a, pair.open_reader(plan="g1=32,g4=8") as b:
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        assert b.load(KEYS) == 6
        b.leave_only("g4", KEYS)
        assert b.owner.evict(KEYS[3:], tier="g4") == 3
        b.compute(prefix([2] * 8))  # the tier takes these and no more
        assert set(b.owner.state.tiers["g4"].lineage.index).isdisjoint(KEYS)
        assert b.objects() == set(prefix([2] * 8))
        assert a.objects() == set(KEYS)
        gone = [event for event in of_kind(b, Evicted) if event.tier == "g4"]
        assert sum(total(event.slots) for event in gone if event.writer == pair.writer) == 6
        assert b.load(KEYS) == 6, "they are found again"


@pytest.mark.parametrize(
    ("fault", "failure", "eviction"),
    [
        (Fault("vanish"), "gone: no such object", "gone"),
        (Fault("short"), "corrupt: 432 of 864 bytes", "corrupt"),
        (Fault("wrong"), "corrupt", "corrupt"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_what_is_not_as_the_writers_log_says_is_never_loaded_nor_found_again(pair, s3, fault, failure, eviction):
    with pair.open_writer() as a, pair.open_reader() as b:
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        fault.key, fault.method = f"*{KEYS[3]}*", "GET"
        s3.set_faults(fault)
        assert b.load(KEYS) == 3
        s3.set_faults()
        assert [event.reason for event in of_kind(b, OnboardFailed)] == [failure]
        (event,) = [event for event in of_kind(b, Evicted) if event.tier == "g4"]
        assert (event.reason, event.writer, set(unpack_keys(event.keys))) == (eviction, pair.writer, set(KEYS[3:]))
        assert sum(len(hit.slots) for hit in b.owner.look(KEYS)) == 3, "it is passed over"
        assert a.objects() == set(KEYS) - ({KEYS[3]} if fault.kind == "vanish" else set()), "only its writer deletes"
        b.compute(KEYS[:5])
        assert b.objects() == set(KEYS[3:]), "what was computed, or had come without its parent, is written here"


def test_what_the_writer_has_deleted_is_gone_and_what_it_writes_again_is_found_again(pair):
    with pair.open_writer() as a, pair.open_reader() as b:
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        b.owner.match("r", KEYS)
        a.owner.evict(KEYS, tier="g4")
        assert a.objects() == set()
        assert b.forgets(pair.writer, KEYS)
        b.owner.wait([b.owner.onboard("r", KEYS, source="g4")])
        assert b.owner.resident(KEYS) == []
        b.owner.release("r")
        b.settle()
        assert {event.reason for event in of_kind(b, OnboardFailed)} == {"gone: no such object"}
        assert {event.reason for event in of_kind(b, Evicted)} == {"gone"}
        assert b.owner.look(KEYS) == []
        a.owner.offload(KEYS, source="g2", tier="g4")
        a.settle()
        assert b.knows(pair.writer, KEYS)
        assert b.load(KEYS) == 6


def test_the_objects_of_a_writer_that_is_gone_are_read_from_a_snapshot_of_its_log(pair):
    with pair.open_writer() as a:
        a.compute(KEYS[:4])
        a.owner.snapshot()
        a.compute(prefix([1] * 4 + [3, 3]))
    with pair.open_reader() as b:
        other = prefix([1] * 4 + [3, 3])
        assert b.knows(pair.writer, other)
        assert b.load(other) == 6


def test_a_reader_that_is_opened_again_keeps_what_it_has_noted(pair):
    with pair.open_writer() as a, pair.open_reader() as b:
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        assert b.load(KEYS) == 6
    with pair.open_reader(peers=[]) as b:
        assert set(b.owner.state.tiers["g4"].writers.values()) == {pair.writer}
        b.leave_only("g4", KEYS)
        assert b.load(KEYS) == 6, "its log knows whose they are, and what their bytes must be"


def test_who_does_not_follow_finds_nothing(pair):
    with pair.open_writer() as a, pair.open_reader(peers=[]) as b:
        a.compute(KEYS)
        assert b.owner.peers is None
        assert b.owner.match("r", KEYS) == []
        assert not of_kind(b, Noted)


def current(manager):
    """The one peer, once its log was read to its end."""
    deadline = time.monotonic() + 30
    while not any(peer.is_current for peer in manager.peers.status()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (peer,) = manager.peers.status()
    return peer


def test_blocks_of_another_namespace_are_not_found_and_a_peer_that_has_one_is_told_of(pair, capsys):
    with pair.open_writer() as a:
        a.compute(KEYS)
    with pair.open_reader(namespace="n=2") as b:
        peer = current(b.owner)
        assert (peer.namespace, peer.blocks, peer.passed_over) == ("n=1", 0, 0)
        assert b.owner.match("r", KEYS) == []
    assert "a peer has another namespace" in capsys.readouterr().out


def test_a_pattern_means_all_instances_that_there_are_and_that_come(pair):
    with pair.open_reader(peers=[f"{pair.writer[:-1]}*"]) as b, pair.open_writer() as a:
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        assert pair.reader not in {peer.name for peer in b.owner.peers.status()}
        assert b.load(KEYS) == 6


def test_of_what_was_noted_nobody_who_follows_the_reader_takes_the_reader_for_the_writer(pair):
    with pair.open_writer() as a, pair.open_reader() as b:
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        assert b.load(KEYS) == 6
        own = prefix([4] * 3)
        b.compute(own)
        b.owner.snapshot()
        third = ObjectOwner(
            pair.url, pair._folder / "c", pair._s3.url("cache"), instance=f"{pair.reader}-c", peers=[pair.reader]
        )
        with third:
            assert third.knows(pair.reader, own)
            assert third.load(own) == 3
            assert third.owner.look(KEYS) == []


def test_a_note_never_costs_the_prefix_that_it_goes_on_from(pair):
    with pair.open_writer() as a, pair.open_reader(plan="g1=32,g4=4") as b:
        b.compute(KEYS[:4])
        b.leave_only("g4", KEYS)
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        assert [(hit.tier, len(hit.slots)) for hit in b.owner.match("r", KEYS)] == [("g4", 4)]
        b.owner.release("r")


def test_only_so_many_blocks_of_peers_are_kept_in_mind(pair):
    with pair.open_writer() as a:
        a.compute(KEYS)
    manager = BlockManager.open(
        pair.url,
        pair.reader,
        namespace="n=1",
        tiers=[TierSpec(tier="g1", capacity=8), TierSpec(tier="g4", capacity=8)],
        options=Options(peer_blocks_max=4),
        peers=[pair.writer],
    )
    with manager:
        peer = current(manager)
        assert (peer.blocks, peer.passed_over) == (4, 2)


@pytest.mark.parametrize(
    ("log", "plan", "peers", "why"),
    [
        ("url", "g1", ["other"], "object storage"),
        ("url", "g1,g4", ["i"], "this instance itself"),
        ("url", "g1,g4", ["a.b"], "token"),
        ("url", "g1,g4", ["a.*"], "pattern"),
        ("url", "g1,g4", [f"p{at}" for at in range(65)], "at most 64"),
        ("memory", "g1,g4", ["other"], "connection of its own"),
    ],
)
def test_peers_that_cannot_be_followed_are_refused_with_the_reason(nats_url, log, plan, peers, why):
    tiers = [TierSpec(tier=name, capacity=8) for name in plan.split(",")]
    source = nats_url if log == "url" else MemoryLog()
    with pytest.raises(InvalidCommand, match=why):
        BlockManager.open(source, "i", namespace="n", tiers=tiers, peers=peers)


def test_a_server_that_was_killed_is_followed_on_from_where_it_was(nats_server, s3, tmp_path):
    pair = Pair(nats_server.url, s3, tmp_path, "p")
    with pair.open_writer() as a, pair.open_reader() as b:
        a.compute(KEYS[:3])
        assert b.knows(pair.writer, KEYS[:3])
        nats_server.kill()
        assert b.owner.match("r", KEYS), "what is known is found meanwhile"
        b.owner.release("r")
        nats_server.start()
        a.compute(KEYS)
        assert b.knows(pair.writer, KEYS)
        assert b.load(KEYS) == 6
        assert {peer.trouble for peer in b.owner.peers.status()} == {""}


def test_a_log_that_was_trimmed_is_read_from_its_snapshot(nats_url, s3, tmp_path, instance):
    async def trim():
        log = await JetStreamLog.connect(nats_url)
        try:
            await log.trim(pair.writer, await log.last_seq(pair.writer))
        finally:
            await log.close()

    pair = Pair(nats_url, s3, tmp_path, instance)
    with pair.open_writer() as a, pair.open_reader() as b:
        a.compute(KEYS)
        a.owner.snapshot()
        asyncio.run(trim())
        third = ObjectOwner(nats_url, tmp_path / "c", s3.url("cache"), instance=f"{instance}-c", peers=[pair.writer])
        with third:
            assert third.knows(pair.writer, KEYS)
            assert third.load(KEYS) == 6
        assert b.knows(pair.writer, KEYS)


def test_a_peer_that_never_wrote_is_told_of(pair, capsys):
    with pair.open_reader(peers=["nobody-of-this-name"]) as b:
        assert b._becomes(lambda: "a peer has no log" in capsys.readouterr().out)
        assert b.owner.match("r", KEYS) == []
