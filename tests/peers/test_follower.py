"""How far a follower says that it is: of a peer that writes on and on, that is read late, and that is read again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from kvbm_events.log import Entry
from kvbm_events.memory import READ_BATCH, MemoryLog
from kvbm_events.schema.errors import LogUnavailable
from kvbm_nats.peers import Follower, follower
from kvbm_nats.status import PeerStatus
from support.samples import opened, released

WAIT_S = 30.0
COUNT = READ_BATCH + 50


class PeerLog(MemoryLog):
    """Has so many events of a peer from the beginning. It is used in the follower's thread alone."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.store("p", opened(1))
        for n in range(1, COUNT):
            self.store("p", released(1, n))

    async def connect(self) -> MemoryLog:
        return self

    async def last_seq(self, instance: str | None = None) -> int:
        self.looks += 1
        return await super().last_seq(instance)


class Busy(PeerLog):
    """Has one event more whenever somebody looks where it ends."""

    async def last_seq(self, instance: str | None = None) -> int:
        self.store("p", released(1, COUNT + self.looks))
        return await super().last_seq(instance)


class Slow(PeerLog):
    """Gives one batch and no more."""

    async def read(
        self, instance: str | None = None, *, after: int = 0, until: int | None = None
    ) -> AsyncIterator[list[Entry]]:
        async for batch in super().read(instance, after=after, until=until):
            yield batch
            await asyncio.Event().wait()


class BrokenOff(PeerLog):
    """Its reader is cut off once, behind the last event."""

    is_cut = False

    async def read(
        self, instance: str | None = None, *, after: int = 0, until: int | None = None
    ) -> AsyncIterator[list[Entry]]:
        async for batch in super().read(instance, after=after, until=until):
            yield batch
            if batch[-1].seq == COUNT and not self.is_cut:
                self.is_cut = True
                raise LogUnavailable("it was cut off")


@pytest.fixture
def follow(monkeypatch) -> Iterator[Callable[[PeerLog], Follower]]:
    """Begins to follow the one peer."""
    monkeypatch.setattr(follower, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(follower, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(follower, "RETRY_S", 0.2)
    followers: list[Follower] = []

    def begin(log: PeerLog) -> Follower:
        followers.append(Follower(log.connect, "i", ["p"], namespace="model", blocks_max=9))
        return followers[-1]

    yield begin
    for each in followers:
        each.close()


def becomes(peers: Follower, is_so: Callable[[PeerStatus], bool]) -> PeerStatus:
    """Wait until it says so of the one peer."""
    deadline = time.monotonic() + WAIT_S
    while not any(map(is_so, peers.status())):
        assert time.monotonic() < deadline, peers.status()
        time.sleep(0.005)
    (peer,) = peers.status()
    return peer


def looked(peers: Follower, log: PeerLog, times: int) -> PeerStatus:
    """What it says after so many looks more."""
    wanted = log.looks + times
    return becomes(peers, lambda _: log.looks >= wanted)


def test_a_peer_that_writes_on_and_on_is_current(follow):
    log = Busy()
    peers = follow(log)
    peer = becomes(peers, lambda peer: peer.is_current)
    assert peer.wrong("model") == ""
    assert {looked(peers, log, 1).is_current for _ in range(5)} == {True}


def test_a_peer_that_is_read_late_is_told_of_with_how_far_it_is(follow, capsys):
    log = Slow()
    peers = follow(log)
    peer = becomes(peers, lambda peer: peer.seq == READ_BATCH and log.looks > 2)
    assert (peer.end_seq, peer.is_current, peer.wrong("model")) == (COUNT, False, f"read up to {READ_BATCH} of {COUNT}")
    looked(peers, log, 2)
    assert "a peer's log is read late" in capsys.readouterr().out


def test_a_peer_that_wrote_nothing_since_its_reader_was_cut_off_is_not_in_trouble_for_ever(follow, capsys):
    log = BrokenOff()
    peers = follow(log)
    becomes(peers, lambda _: log.is_cut)
    peer = looked(peers, log, 2)
    assert "a peer cannot be followed" in capsys.readouterr().out
    assert (peer.trouble, peer.is_current, peer.seq, peer.end_seq) == ("", True, COUNT, COUNT)
