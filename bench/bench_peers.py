"""Following peers: what an owner's look-ups take while a peer writes as fast as it can, beside an owner that follows nobody.

The peer is a process that writes the events of g4 and nothing else; the owner is in this process, and the follower is a
thread of it. Both sides have the same peer, the same server that syncs always, and the machine's cores to share: one follows
it, the other does not. A round has 64 blocks a look-up, in bursts that are stored before the next one begins: `found here` are
all in g1, `found nowhere` are unknown, so that peers are asked. `quiet` is a peer that wrote 100,000 blocks and is silent.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import chain, count, islice, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from harness import ROUNDS, Row, make_row
from kvbm_events.codec import decode, encode
from kvbm_events.schema import Evicted, TierSpec
from kvbm_nats.manager import BlockManager
from kvbm_nats.nats_server import NatsServer
from kvbm_nats.peers.blocks import PeerBlocks
from kvbm_nats.status import PeerStatus
from object_writer import BLOCKS as BATCH
from object_writer import KEPT, NAMESPACE, events, keys_of
from stopwatch import settle

BLOCKS = 64
BURST = 250
KNOWN = 1_000_000
"""Blocks of peers, as many as are kept in mind by default."""
TIERS = [TierSpec(tier="g1", capacity=4096), TierSpec(tier="g4", capacity=16384)]
HERE = [f"{1 << 127 | at:032x}" for at in range(BLOCKS)]
WAIT_S = 60.0
NOBODY = "no peers"
_numbers = count()


class Looked(NamedTuple):
    """Look-ups of one kind in one round."""

    p50_us: float
    p99_us: float
    per_s: float


class Followed(NamedTuple):
    """What a follower did in a while in which nothing else was done in its process, and what its peer wrote meanwhile."""

    per_s: float
    written_per_s: float
    cpu_us: float


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """All figures; fewer and shorter rounds if `quick`."""
    rounds, seconds = (2, 0.5) if quick else (ROUNDS, 2.0)
    rows = _beside_busy(rounds, seconds)
    with _server() as url:
        rows += _beside_quiet(url, rounds, seconds)
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        taken = [fresh.submit(_memory).result() for _ in range(rounds)]
    return [*rows, make_row(f"memory of a peer's block, of {KNOWN:,}", "bytes", taken)]


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="kvbm-bench-") as folder, NatsServer(Path(folder) / "nats") as server:
        yield server.url


class Writer:
    """A peer's process. See `object_writer`."""

    def __init__(self, url: str, batches: int) -> None:
        self.name = f"peer-{next(_numbers)}"
        script = Path(__file__).with_name("object_writer.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), url, self.name, str(batches)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    def written(self) -> int:
        """Events until now; it writes from the first time on that it is asked."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._read())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=WAIT_S)
        assert self._process.returncode == 0

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def _writer(url: str, batches: int) -> Iterator[Writer]:
    writer = Writer(url, batches)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def _owner(url: str, peers: Sequence[str]) -> Iterator[BlockManager]:
    """One that has `HERE` in g1."""
    with BlockManager.open(url, f"own-{next(_numbers)}", namespace=NAMESPACE, tiers=TIERS, peers=peers) as owner:
        owner.register("r", owner.allocate("r", BLOCKS), HERE)
        owner.release("r")
        assert owner.settle()
        settle()
        yield owner


def _beside_busy(rounds: int, seconds: float) -> list[Row]:
    """A server a round: a peer that writes as fast as it can makes some 30 MB a second."""
    ours: list[dict[str, Looked]] = []
    theirs: list[dict[str, Looked]] = []
    followed: list[Followed] = []
    for _ in range(rounds):
        with _server() as url, _writer(url, 0) as peer:
            peer.written()
            with _owner(url, []) as owner:
                theirs.append(_look(owner, seconds))
            with _owner(url, [peer.name]) as owner:
                _until(owner, lambda status: status.blocks > 0)
                ours.append(_look(owner, seconds))
                followed.append(_follow(owner, peer, seconds))
    rate = [each.per_s for each in followed]
    written = [each.written_per_s for each in followed]
    return [
        *_rows("a busy peer", ours, theirs, "the same peer, not followed"),
        make_row(
            "following a busy peer", "events/s", rate, theirs=written, against="what it wrote", more_is_better=True
        ),
        make_row("following a busy peer: CPU", "µs/event", [each.cpu_us for each in followed]),
    ]


def _beside_quiet(url: str, rounds: int, seconds: float) -> list[Row]:
    ours: list[dict[str, Looked]] = []
    theirs: list[dict[str, Looked]] = []
    caught: list[float] = []
    noted: list[Looked] = []
    with _writer(url, KEPT) as peer:
        for _ in range(rounds):
            with _owner(url, []) as owner:
                theirs.append(_look(owner, seconds))
            began_s = time.perf_counter()
            with _owner(url, [peer.name]) as owner:
                _until(owner, lambda status: status.blocks == KEPT * BATCH)
                caught.append(KEPT * BATCH / (time.perf_counter() - began_s) / 1e6)
                ours.append(_look(owner, seconds))
                noted.append(_look_at_peer(owner, seconds))
    return [
        *_rows("a quiet peer", ours, theirs, NOBODY),
        make_row(f"match of {BLOCKS} that a peer has: noted, p50", "µs", [each.p50_us for each in noted]),
        make_row(f"match of {BLOCKS} that a peer has: noted, p99", "µs", [each.p99_us for each in noted]),
        make_row("a new owner reads all of a peer's log", "M blocks/s", caught),
    ]


def _until(owner: BlockManager, is_so: Callable[[PeerStatus], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    assert owner.peers
    while not any(map(is_so, owner.peers.status())):
        assert time.monotonic() < deadline_s, owner.peers.status()
        time.sleep(0.001)


def _look(owner: BlockManager, seconds: float) -> dict[str, Looked]:
    """Look-ups of both kinds, each for so long."""
    missing = (f"{3 << 126 | at:032x}" for at in count(1))
    nowhere = [list(islice(missing, BLOCKS)) for _ in range(BURST)]
    return {
        "found here": _time(owner, repeat([HERE] * BURST), BLOCKS, seconds),
        "found nowhere": _time(owner, repeat(nowhere), 0, seconds),
    }


def _look_at_peer(owner: BlockManager, seconds: float) -> Looked:
    """Prompts of two batches each, of which none is asked for twice."""
    prompts = [keys_of(batch) + keys_of(batch + 1) for batch in range(0, KEPT - 1, 2)]
    return _time(owner, _batched(prompts), BLOCKS, seconds)


def _batched(prompts: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
    """In bursts."""
    for first in range(0, len(prompts), BURST):
        yield prompts[first : first + BURST]


def _time(owner: BlockManager, bursts: Iterable[Sequence[Sequence[str]]], found: int, seconds: float) -> Looked:
    """Burst after burst, until there is none or the time is over."""
    took_ns: list[int] = []
    began_s = time.perf_counter()
    for burst in bursts:
        if took_ns and time.perf_counter() - began_s > seconds:
            break
        for prompt in burst:
            at_ns = time.perf_counter_ns()
            hits = owner.match("look", prompt, hold=False)
            took_ns.append(time.perf_counter_ns() - at_ns)
            assert sum(len(hit.slots) for hit in hits) == found
        owner.flush()
    per_s = len(took_ns) / (time.perf_counter() - began_s)
    took_ns.sort()
    return Looked(took_ns[len(took_ns) // 2] / 1e3, took_ns[len(took_ns) * 99 // 100] / 1e3, per_s)


def _follow(owner: BlockManager, peer: Writer, seconds: float) -> Followed:
    """Follow and do nothing else; nobody but the peer writes meanwhile, so that sequences count its events."""
    assert owner.peers
    cpu_s, began_s = time.process_time(), time.perf_counter()
    (first,), written = owner.peers.status(), peer.written()
    time.sleep(seconds)
    (last,), written = owner.peers.status(), peer.written() - written
    took_s, spent_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    followed = last.seq - first.seq
    return Followed(followed / took_s, written / took_s, spent_s / followed * 1e6)


def _rows(beside: str, ours: list[dict[str, Looked]], theirs: list[dict[str, Looked]], against: str) -> list[Row]:
    rows: list[Row] = []
    for kind in ours[0]:
        own, other = [each[kind] for each in ours], [each[kind] for each in theirs]
        for at, (name, unit) in enumerate((("p50", "µs"), ("p99", "µs"), ("stored", "/s"))):
            rows.append(
                make_row(
                    f"match of {BLOCKS} {kind}, {beside}: {name}",
                    unit,
                    [each[at] for each in own],
                    theirs=[each[at] for each in other],
                    against=against,
                    more_is_better=unit == "/s",
                )
            )
    return rows


def _memory() -> float:
    """Bytes a block by which a process grows that takes a peer's events as a log gives them. For a fresh one."""
    peer = PeerBlocks("p", lambda: KNOWN, NAMESPACE)
    peer.namespace = NAMESPACE  # as `Opened` says
    before = _resident_bytes()
    for event in chain.from_iterable(islice(events(), KNOWN // BATCH)):
        if type(event) is not Evicted:
            peer.take(decode(encode(event)))
    assert len(peer.sums) == KNOWN
    return (_resident_bytes() - before) / len(peer.sums)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
