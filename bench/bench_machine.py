"""The state machine beside vLLM's BlockPool: ns a block for each command, events being made.

Both sides do the same in the same minute: a pool of one size, one request a batch, keys that the interpreter has not
seen, the whole pool cached before anything is evicted, and the garbage collector on (what was there before the round is
frozen, as vLLM's engine does). We make an event of every command and keep it in a list; vLLM is measured without events
and with them. `KVBM_BENCH_VLLM_PYTHON` names an interpreter that has vLLM.
"""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping

from harness import ROUNDS, Peer, Row, figure, find_peer, make_row
from machine_round import Round
from stopwatch import Stopwatch

SLOTS = (10_000, 100_000)
BATCHES = (1, 64, 512)
LIVED_IN_BATCHES = (64, 512)
MAX_BATCHES = 20_000
MAX_MISSED = 20_000
TOGETHER = 64
PROMPT_BLOCKS = 32
LIFE = ("allocate_evict", "register", "release_registered")
TITLES = {
    "allocate": "allocate",
    "allocate_evict": "allocate + evict",
    "register": "register",
    "release_registered": "release what was registered",
    "life": "allocate + evict, register, release: the sum",
    "grow": "grow by a block: allocate + register of 1",
    "match_hit": "match, a hit",
    "release_matched": "release what was matched",
    "match_miss": "match, a miss; they look every key up",
    "match_miss_first": "match, a miss; they stop at the first key",
    "encode_registered": "encode Registered",
    "encode_evicted": "encode Evicted",
    "encode_matched": "encode Matched",
}
_WITH_THEIR_EVENTS = {"allocate_evict", "register", "life", "grow", "encode_registered", "encode_evicted"}
_WITHOUT_AIM = {"match_miss_first", "encode_registered", "encode_evicted", "encode_matched"}

Samples = dict[str, list[float]]
Sides = dict[str, Samples]


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """All shapes; of the smaller pool only, and in three rounds, if `quick`."""
    peer, absent = find_peer("vLLM", "KVBM_BENCH_VLLM_PYTHON", "peer_vllm.py")
    rounds = 3 if quick else ROUNDS
    rows = [_hex_row(rounds, absent)]
    try:
        for slots in SLOTS[:1] if quick else SLOTS:
            for batch in BATCHES:
                rows += _rows(f"{slots // 1000} k, batch {batch}", batch, _fresh(slots, batch, rounds, peer), peer)
            for batch in LIVED_IN_BATCHES:
                shape = f"{slots // 1000} k lived in, batch {batch}"
                rows += _rows(shape, batch, _lived_in(slots, batch, rounds, peer), peer)
        return rows
    finally:
        if peer:
            peer.close()


def _fresh(slots: int, batch: int, rounds: int, peer: Peer | None) -> Sides:
    pool = slots - slots % batch
    count = min(pool // batch, MAX_BATCHES)
    question = {"kind": "fresh", "slots": pool, "batch": batch, "count": count, "max_missed": MAX_MISSED}
    return _take_turns(rounds, lambda: Round(pool, batch).run_fresh(count, MAX_MISSED), peer, question)


def _lived_in(slots: int, batch: int, rounds: int, peer: Peer | None) -> Sides:
    count = (slots - PROMPT_BLOCKS) // batch
    pool, together = count * batch + PROMPT_BLOCKS, min(TOGETHER, count)
    shape = {"count": count, "together": together, "prompt": PROMPT_BLOCKS}
    question = {"kind": "lived_in", "slots": pool, "batch": batch, **shape}
    return _take_turns(rounds, lambda: Round(pool, batch).run_lived_in(**shape), peer, question)


def _take_turns(
    rounds: int, ours: Callable[[], dict[str, float]], peer: Peer | None, question: Mapping[str, object]
) -> Sides:
    """Ours, theirs without events, theirs with them; and again."""
    sides: Sides = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        _keep(sides["ours"], ours())
        if peer:
            _keep(sides["events off"], peer.ask(**question, events=False))
            _keep(sides["events on"], peer.ask(**question, events=True))
    return sides


def _keep(samples: Samples, answer: dict[str, float]) -> None:
    answer["life"] = sum(answer[operation] for operation in LIFE)
    for operation, value in answer.items():
        samples[operation].append(value)


def _rows(shape: str, batch: int, sides: Sides, peer: Peer | None) -> list[Row]:
    rows: list[Row] = []
    name = peer.name if peer else "not measured"
    ours = sides.pop("ours")
    for operation, title in TITLES.items():
        own = ours.get("match_miss" if operation == "match_miss_first" else operation)
        if not own:
            continue
        what = f"{shape}: {title}"
        compared = [side for side in sides if operation in sides[side] and _is_told(operation, side, batch)]
        for side in compared:
            against = f"{name}, {side}{_parts(operation, sides[side])}"
            aim = _aim(operation, side, batch)
            rows.append(make_row(what, "ns", own, theirs=sides[side][operation], against=against, aim=aim))
        if not compared and operation != "match_miss_first":
            rows.append(make_row(what, "ns", own, against="" if sides else name))
    return rows


def _is_told(operation: str, side: str, batch: int) -> bool:
    """Whether events make a difference to their side, or are what the aim is about."""
    return side == "events off" or operation in _WITH_THEIR_EVENTS or batch == 1


def _parts(operation: str, theirs: Samples) -> str:
    if operation != "match_hit":
        return ""
    look_up, touch = (figure(statistics.median(theirs[part])) for part in ("look_up", "touch"))
    return f": look-up {look_up} + touch {touch}"


def _aim(operation: str, side: str, batch: int) -> float | None:
    """Three times as fast as without events where there is a batch; with a block a command, faster than with events."""
    if operation in _WITHOUT_AIM:
        return None
    if batch == 1 or operation == "grow":
        return 1.0 if side == "events on" else None
    return 3.0 if side == "events off" else None


def _hex_row(rounds: int, note: str) -> Row:
    """What a key costs where the engine has its hash as bytes."""
    chance = random.Random(1)
    watch, samples = Stopwatch(), []
    for _ in range(rounds):
        hashes = [chance.randbytes(32) for _ in range(MAX_MISSED)]
        watch.time("hex", MAX_MISSED, lambda block_hash: block_hash[:16].hex(), hashes)
        samples.append(watch.took_ns["hex"])
    return make_row("key of an engine's hash: 16 bytes to hex", "ns", samples, against=note)
