"""What a follower keeps of a peer's log is what a whole fold of it has in g4, wherever it begins to read."""

from __future__ import annotations

import pytest

from kvbm_events.schema import CHECKSUM_DIGITS
from kvbm_nats.peers.blocks import PeerBlocks
from kvbm_nats.peers.finding import Piece, pieces_beyond
from kvbm_nats.peers.names import chosen
from kvbm_statemachine import POLICIES, State, evolve, to_bytes
from kvbm_statemachine.decide import complete_transfer, fail_transfer, note, offload
from kvbm_statemachine.snapshot import dump_of
from support.chained_keys import prefix
from support.desks import desk_of, put, spec
from support.history import PLANS, History
from support.seeded_history import seeded_history

KEYS = prefix([1] * 6)


def own_sums(state: State) -> dict[str, str]:
    """By a whole fold: the blocks in g4 that the instance has written, and whose checksum it knows."""
    tier = state.tiers.get("g4")
    if tier is None:
        return {}
    found = {key: tier.checksums.of([slot]) for key, slot in tier.lineage.index.items() if slot not in tier.writers}
    return {key: each for key, each in found.items() if each}


@pytest.mark.parametrize("policy", POLICIES)
def test_it_is_what_a_whole_fold_has(policy, monkeypatch):
    monkeypatch.setitem(PLANS, "g1+g4", [spec("g1", 12), spec("g4", 9)])
    history: History = seeded_history(policy, "g1+g4", 11, steps=800)
    state, seen = State(), PeerBlocks("a", lambda: 1 << 30, "n")
    late: list[PeerBlocks] = []
    sizes = set[int]()
    for at, event in enumerate(history.events):
        evolve(state, event)
        for peer in (seen, *late):
            peer.take(event)
            assert peer.sums == own_sums(state), (at, event)
        sizes.add(len(seen.sums))
        if not at % 40:
            late.append(PeerBlocks("a", lambda: 1 << 30, "n"))
            late[-1].begin(dump_of(to_bytes(state)), at)
    assert max(sizes) >= 2, "the history brings blocks there"


def test_what_there_is_no_room_for_is_counted_and_not_kept():
    desk, events = desk_of(spec("g1", 8), spec("g4", 8))
    peer = PeerBlocks("a", lambda: 4 - len(peer.sums), "n=1")
    put(desk, KEYS)
    started = offload(desk, "g1", "g4", KEYS, deadline_us=9)
    slots = list(desk.state.transfers[started.transfer].open)
    fail_transfer(desk, started.transfer, slots=slots[:1], reason="x")
    complete_transfer(desk, started.transfer, checksums="1" * CHECKSUM_DIGITS * 5, length_bytes=7)
    peer.namespace = "n=1"  # as `Opened` says
    for event in events:
        peer.take(event)
    assert (list(peer.sums), peer.passed_over, peer.length_bytes) == (KEYS[1:5], 1, 7)
    peer.strike(KEYS[1:3])
    assert list(peer.sums) == KEYS[3:5]


def peer_of(name, keys):
    peer = PeerBlocks(name, lambda: 1 << 30, "n=1")
    peer.sums = dict.fromkeys(keys, "1" * CHECKSUM_DIGITS)
    return peer


def test_of_another_namespace_nothing_is_kept():
    desk, _ = desk_of(spec("g1", 8), spec("g4", 8))
    put(desk, KEYS)
    started = offload(desk, "g1", "g4", KEYS, deadline_us=9)
    complete_transfer(desk, started.transfer, checksums="1" * CHECKSUM_DIGITS * 6)
    ours, other = (PeerBlocks("a", lambda: 9, namespace) for namespace in ("n=1", "n=2"))
    for peer in (ours, other):
        peer.begin(dump_of(to_bytes(desk.state)), 3)
        assert peer.namespace == "n=1"
    assert (len(ours.sums), len(other.sums), other.passed_over) == (6, 0, 0)


def test_a_look_up_goes_on_with_who_reaches_furthest_and_over_what_is_ours():
    desk, _ = desk_of(spec("g1", 8), spec("g4", 8))
    one, two = peer_of("one", KEYS[:2]), peer_of("two", [*KEYS[:3], KEYS[4]])
    find = lambda at, hidden=(): pieces_beyond(desk.state, KEYS, at, [one, two], hidden)  # noqa: E731 - short
    assert find(0) == [Piece(0, 3, two)]
    assert find(3) == []
    note(desk, "g4", KEYS[3:4], writer="b", parent=KEYS[2], checksums="1" * CHECKSUM_DIGITS)
    assert find(0) == [Piece(0, 3, two), Piece(3, 4, None), Piece(4, 5, two)]
    assert find(0, {KEYS[3]}) == [Piece(0, 3, two)], "what must not be found yet ends it"
    put(desk, KEYS[:2])
    offload(desk, "g1", "g4", KEYS[1:2], deadline_us=9)
    assert find(0) == [Piece(0, 1, one)] or find(0) == [Piece(0, 1, two)], "what is on its way to us is ours"


def test_who_is_meant():
    known = ["replica-0", "replica-1", "test-1"]
    assert chosen(["*"], known, "replica-0") == ["replica-1", "test-1"]
    assert chosen(["replica-?", "gone"], known, "replica-0") == ["gone", "replica-1"]
