"""The state machine beside vLLM's BlockPool: ns a block for each command, batch by batch, events being made.

Both sides: a pool of the same size, one request a batch, keys never seen before by the interpreter, the whole pool cached
before anything is evicted, garbage collection on, with what was there before the round frozen (as vLLM's engine does).
Ours makes an event of every command and keeps it in a list, which is emptied between operations; vLLM is measured
without events and with them. `KVBM_BENCH_VLLM_PYTHON` names an interpreter that has vLLM.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from harness import ROUNDS, Peer, PeerUnavailable, Row, make_row
from stopwatch import Stopwatch, settle

from kvbm_events.codec import encode
from kvbm_events.schema import AnyEvent, Evicted, TierSpec
from kvbm_statemachine import State, check_integrity, evolve
from kvbm_statemachine.decide import Desk, allocate, match, plan_opening, register, release

SLOTS = (10_000, 100_000)
BATCHES = (1, 64, 512)
MAX_BATCHES = 20_000
MAX_MISSED = 20_000
OPERATIONS = {
    "allocate": "allocate",
    "allocate_evict": "allocate + evict",
    "register": "register",
    "match_hit": "match, hit (their look-up + touch)",
    "look_up": "match, hit (their look-up alone)",
    "touch": "match, hit (their touch alone)",
    "miss_every": "match, miss (they look every key up)",
    "miss_first": "match, miss (they stop at the first key)",
    "release_registered": "release of registered blocks",
    "release_matched": "release of matched blocks",
    "encode_registered": "encode Registered",
    "encode_evicted": "encode Evicted",
    "encode_matched": "encode Matched, a hit",
}
_OURS_OF = {"look_up": "match_hit", "touch": "match_hit", "miss_every": "match_miss", "miss_first": "match_miss"}
_NO_AIM = {"look_up", "touch", "miss_first", "encode_registered", "encode_evicted", "encode_matched"}

Samples = dict[str, list[float]]


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """All shapes; the smaller pool and three rounds if `quick`."""
    peer, absent = _peer()
    try:
        rows: list[Row] = []
        for slots in SLOTS[:1] if quick else SLOTS:
            for batch in BATCHES:
                rows += _shape(slots, batch, 3 if quick else ROUNDS, peer, absent)
        return rows
    finally:
        if peer:
            peer.close()


def _peer() -> tuple[Peer | None, str]:
    """vLLM, or why it is not there."""
    python = os.environ.get("KVBM_BENCH_VLLM_PYTHON")
    if not python:
        return None, "vLLM not measured: KVBM_BENCH_VLLM_PYTHON is not set"
    try:
        return Peer(python, Path(__file__).with_name("peer_vllm.py")), ""
    except PeerUnavailable as error:
        return None, f"vLLM not measured: {error}"


def _shape(slots: int, batch: int, rounds: int, peer: Peer | None, absent: str) -> list[Row]:
    pool = slots - slots % batch
    sides: dict[str, Samples] = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        _keep(sides["ours"], measure(pool, batch))
        for events in (False, True) if peer else ():
            assert peer
            answer = peer.ask(
                slots=pool, batch=batch, max_batches=MAX_BATCHES, max_missed=MAX_MISSED, events=events
            )
            _keep(sides["events on" if events else "events off"], answer)
    rows: list[Row] = []
    for operation, title in OPERATIONS.items():
        what = f"{slots // 1000} k slots, batch {batch}: {title}"
        ours = sides["ours"][_OURS_OF.get(operation, operation)]
        held_against = [name for name in ("events off", "events on") if operation in sides[name]]
        for name in held_against:
            aim = None if operation in _NO_AIM else _aim(batch, name)
            theirs = sides[name][operation]
            rows.append(make_row(what, "ns", ours, theirs=theirs, against=f"{peer.name}, {name}" if peer else "", aim=aim))
        if not held_against and operation not in _OURS_OF:
            rows.append(make_row(what, "ns", ours, against=absent))
    return rows


def _aim(batch: int, side: str) -> float | None:
    if batch == 1:
        return 1.0 if side == "events on" else None
    return 3.0 if side == "events off" else None


def _keep(samples: Samples, answer: dict[str, float]) -> None:
    for operation, value in answer.items():
        samples[operation].append(value)


def measure(slots: int, batch: int) -> dict[str, float]:
    """One round over a new state: ns a block by operation."""
    chance = random.Random(slots + batch)
    count = min(slots // batch, MAX_BATCHES)
    blocks = count * batch
    events: list[AnyEvent] = []
    desk = _open(slots, events.append)
    keys = [_keys(chance, batch) for _ in range(count)]
    asked = [[bytes.fromhex(key).hex() for key in of_request] for of_request in keys]  # equal, but other objects
    missed = [_keys(chance, batch) for _ in range(max(1, min(count, MAX_MISSED // batch)))]
    names = [f"request-{number}" for number in range(count)]
    lookers = [f"looker-{number}" for number in range(len(missed))]
    watch = Stopwatch()
    settle()

    held = watch.time("allocate", blocks, lambda name: allocate(desk, "g1", name, batch), names)
    events.clear()
    watch.time("register", blocks, lambda each: register(desk, "g1", *each), list(zip(names, held, keys, strict=True)))
    registered = events.copy()
    watch.time("release_registered", blocks, lambda name: release(desk, name), names)
    events.clear()
    hits = watch.time("match_hit", blocks, lambda each: match(desk, *each), list(zip(names, asked, strict=True)))
    assert [hit.slots for found in hits for hit in found] == held
    matched = events.copy()
    watch.time("release_matched", blocks, lambda name: release(desk, name), names)
    events.clear()
    questions = list(zip(lookers, missed, strict=True))
    misses = watch.time("match_miss", len(missed) * batch, lambda each: match(desk, *each), questions)
    assert not any(misses)
    for name in lookers:
        release(desk, name)
    _fill(desk, slots - blocks, batch, chance)
    events.clear()
    index = desk.state.tiers["g1"].lineage.index
    assert len(index) == slots
    assert not check_integrity(desk.state)
    watch.time("allocate_evict", blocks, lambda name: allocate(desk, "g1", name, batch), names)
    assert len(index) == slots - blocks
    evicted = [event for event in events if isinstance(event, Evicted)]
    watch.time("encode_registered", blocks, encode, registered)
    watch.time("encode_matched", blocks, encode, matched)
    watch.time("encode_evicted", blocks, encode, evicted)
    return watch.took_ns


def _fill(desk: Desk, blocks: int, batch: int, chance: random.Random) -> None:
    """Cache further batches until nothing is left that holds no block."""
    for number in range(blocks // batch):
        name = f"filler-{number}"
        register(desk, "g1", name, allocate(desk, "g1", name, batch), _keys(chance, batch))
        release(desk, name)


def _keys(chance: random.Random, count: int) -> list[str]:
    return [chance.randbytes(16).hex() for _ in range(count)]


def _open(slots: int, sink: Callable[[AnyEvent], None]) -> Desk:
    state = State()
    tiers = [TierSpec(tier="g1", capacity=slots)]
    evolve(
        state,
        plan_opening(state, namespace="bench", owner="bench", tiers=tiers, keep=[], requests="dropped", now_us=1),
    )
    return Desk(state, sink, now_us=1)
