"""One round of the state machine for bench_machine: what is done, and in which order, that peer_vllm does too.

Two kinds of round. A *fresh* pool is filled in order. A *lived-in* pool was filled by requests that shared a prompt and
grew in turns by a block each, as decoding does, so that the slots of a chain lie scattered.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from kvbm_events.codec import encode
from kvbm_events.schema import AnyEvent, Evicted, Matched, Registered, TierSpec
from kvbm_statemachine import State, check_integrity, evolve
from kvbm_statemachine.decide import Desk, allocate, match, plan_opening, register, release
from stopwatch import Stopwatch, settle


class Round:
    """A new state of one tier, and the commands with their timing.

    :ivar slots: in the tier
    :ivar batch: blocks a request
    """

    def __init__(self, slots: int, batch: int) -> None:
        self.slots, self.batch = slots, batch
        self.watch = Stopwatch()
        self._chance = random.Random(slots + batch)
        self._events: list[AnyEvent] = []
        self._desk = _open(slots, self._events.append)
        self._index = self._desk.state.tiers["g1"].lineage.index

    def keys(self, count: int) -> list[str]:
        """Keys that were never seen before."""
        return [self._chance.randbytes(16).hex() for _ in range(count)]

    def run_fresh(self, count: int, max_missed: int) -> dict[str, float]:
        """`count` batches from an empty pool to one from which everything is evicted: ns a block by operation."""
        names, keys = _names(count), [self.keys(self.batch) for _ in range(count)]
        missed = [self.keys(self.batch) for _ in range(max(1, min(count, max_missed // self.batch)))]
        settle()
        held = self._allocate("allocate", names)
        self._use(names, held, keys)
        self._miss(missed)
        for number in range(self.slots // self.batch - count):
            self._cache_one(f"filler-{number}", self.keys(self.batch))
        self._check_all_cached()
        self._allocate("allocate_evict", names)
        evicted = [event for event in self._events if isinstance(event, Evicted)]
        self.watch.time("encode_evicted", count * self.batch, encode, evicted)
        return self.watch.took_ns

    def run_lived_in(self, count: int, together: int, prompt: int) -> dict[str, float]:
        """Grow the pool full, `together` requests at a time behind `prompt` blocks; then use it as if it were fresh."""
        names, keys = _names(count), [self.keys(self.batch) for _ in range(count)]
        grown = [self.keys(self.batch) for _ in range((self.slots - prompt) // self.batch)]
        shared = self.keys(prompt)
        settle()
        self._cache_one("prompt", shared)
        took_ns = 0.0
        for first in range(0, len(grown), together):
            took_ns += self._grow(shared, grown[first : first + together])
        self.watch.took_ns["grow"] = took_ns / (len(grown) * self.batch)
        self._check_all_cached()
        held = self._allocate("allocate_evict", names)
        self._use(names, held, keys)
        return self.watch.took_ns

    def _allocate(self, operation: str, names: list[str]) -> list[list[int]]:
        self._events.clear()
        desk, batch = self._desk, self.batch
        blocks = len(names) * batch
        return self.watch.time_answers(operation, blocks, lambda name: allocate(desk, "g1", name, batch), names)

    def _use(self, names: list[str], held: list[list[int]], keys: list[list[str]]) -> None:
        """Register what is held, release it, find it again, release it again."""
        desk, watch, blocks = self._desk, self.watch, len(names) * self.batch
        asked = [[bytes.fromhex(key).hex() for key in of_request] for of_request in keys]  # equal, but other objects
        self._events.clear()
        filled = list(zip(names, held, keys, strict=True))
        watch.time("register", blocks, lambda each: register(desk, "g1", *each), filled)
        registered = [event for event in self._events if isinstance(event, Registered)]
        watch.time("release_registered", blocks, lambda name: release(desk, name), names)
        self._events.clear()
        watch.time("match_hit", blocks, lambda each: match(desk, *each), list(zip(names, asked, strict=True)))
        matched = [event for event in self._events if isinstance(event, Matched)]
        assert sum(event.found[0].blocks for event in matched) == blocks
        watch.time("release_matched", blocks, lambda name: release(desk, name), names)
        watch.time("encode_registered", blocks, encode, registered)
        watch.time("encode_matched", blocks, encode, matched)
        self._events.clear()

    def _miss(self, missed: list[list[str]]) -> None:
        desk, names = self._desk, _names(len(missed))
        asked = list(zip(names, missed, strict=True))
        self.watch.time("match_miss", len(missed) * self.batch, lambda each: match(desk, *each), asked)
        assert not any(event.found for event in self._events if isinstance(event, Matched))
        for name in names:
            release(desk, name)

    def _grow(self, shared: list[str], keys: list[list[str]]) -> float:
        """Requests grow in turns by a block each, and end; how many ns that took, without the beginning and the end."""
        desk, names = self._desk, _names(len(keys))
        for name in names:
            match(desk, name, shared)
        parents = [shared[-1:] * len(keys), *zip(*keys, strict=True)]
        turns = [
            (name, [key], parent)
            for above, at in zip(parents, zip(*keys, strict=True), strict=False)
            for name, parent, key in zip(names, above, at, strict=True)
        ]
        watch = Stopwatch()
        watch.time(
            "grow", 1, lambda turn: register(desk, "g1", turn[0], allocate(desk, "g1", turn[0], 1), *turn[1:]), turns
        )
        for name in names:
            release(desk, name)
        self._events.clear()
        return watch.took_ns["grow"]

    def _cache_one(self, name: str, keys: list[str]) -> None:
        register(self._desk, "g1", name, allocate(self._desk, "g1", name, len(keys)), keys)
        release(self._desk, name)

    def _check_all_cached(self) -> None:
        assert len(self._index) == self.slots
        assert not check_integrity(self._desk.state)


def _names(count: int) -> list[str]:
    return [f"request-{number}" for number in range(count)]


def _open(slots: int, sink: Callable[[AnyEvent], None]) -> Desk:
    state = State()
    tiers = [TierSpec(tier="g1", capacity=slots)]
    opening = plan_opening(state, namespace="bench", owner="bench", tiers=tiers, keep=[], requests="dropped", now_us=1)
    evolve(state, opening)
    return Desk(state, sink, now_us=1)
