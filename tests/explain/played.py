"""Recorded traces through `decide`, as engines play them, into a log in memory: requests overlap, and copies take no time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from kvbm_events.memory import MemoryLog
from kvbm_events.schema import MAX_BLOCKS, ROOT, AnyEvent, TierName
from kvbm_events.schema.errors import TierFull
from kvbm_nats.plan import parse_plan
from kvbm_nats.traces.request import TraceRequest
from kvbm_statemachine import State, evolve
from kvbm_statemachine.decide import (
    Desk,
    allocate,
    complete_transfer,
    match,
    next_batch,
    offload,
    onboard,
    plan_opening,
    register,
    release,
)

START_US = 1_700_000_000_000_000
PIECE = 256


class Engine:
    """One instance. A request looks up when it comes, and computes when `overlap` others have come after it."""

    def __init__(
        self,
        log: MemoryLog,
        name: str,
        plan: str,
        namespace: str,
        *,
        overlap: int = 0,
        priority_of: Callable[[str], int] = lambda _request: 50,
    ) -> None:
        self.state, self.log, self.name = State(), log, name
        self.desk = Desk(self.state, self._store, START_US)
        self._waiting: deque[tuple[str, Sequence[str], int]] = deque()
        self._overlap, self._priority_of = overlap, priority_of
        self._open(plan, namespace)

    def play(self, requests: Iterable[TraceRequest]) -> None:
        """All of them, one after the other; the recorded times are the owner's clock."""
        for request in requests:
            self.desk.now_us = START_US + int(request.at_s * 1e6)
            self._ask(request.request, request.keys)
            while len(self._waiting) > self._overlap:
                self._compute(*self._waiting.popleft())
        while self._waiting:
            self._compute(*self._waiting.popleft())

    def _open(self, plan: str, namespace: str) -> None:
        opened = plan_opening(
            self.state,
            namespace=namespace,
            owner="test",
            tiers=parse_plan(plan),
            keep=[],
            requests="dropped",
            now_us=START_US,
        )
        evolve(self.state, opened)
        self._store(opened)

    def _store(self, event: AnyEvent) -> None:
        self.log.store(self.name, event)

    def _ask(self, name: str, keys: Sequence[str]) -> None:
        at = 0
        for hit in match(self.desk, name, keys, priority=self._priority_of(name)):
            end = at + len(hit.slots)
            if hit.tier != "g1":
                self._load(name, keys[at:end], hit.tier)
            at = end
        self._select(keys[:at], self._priority_of(name))
        self._waiting.append((name, keys, len(self._resident(keys))))

    def _load(self, name: str, keys: Sequence[str], source: TierName) -> None:
        while True:
            try:
                for part in self._parts(source, "g1", keys):
                    event = onboard(self.desk, source, "g1", part, request=name, deadline_us=self.desk.now_us)
                    complete_transfer(self.desk, event.transfer)
            except TierFull:
                if not self._waiting:
                    return
                self._compute(*self._waiting.popleft())
            else:
                return

    def _compute(self, name: str, keys: Sequence[str], at: int) -> None:
        while at < len(keys):
            piece = keys[at : at + PIECE]
            try:
                slots = allocate(self.desk, "g1", name, len(piece), priority=self._priority_of(name))
            except TierFull:
                break
            register(self.desk, "g1", name, slots, piece, keys[at - 1] if at else ROOT)
            at += len(piece)
        below = self.state.below("g1")
        if below and below.spec.admission == "write_through" and self._priority_of(name) >= below.spec.priority_min:
            self._down(keys[:at])
        if name in self.state.requests:
            release(self.desk, name)

    def _select(self, keys: Sequence[str], priority: int) -> None:
        below, g1 = self.state.below("g1"), self.state.tiers["g1"]
        if below and below.spec.admission == "selective" and priority >= below.spec.priority_min:
            index, least = g1.lineage.index, below.spec.seen_min
            self._down([key for key in keys if key in index and g1.seen[index[key]] >= least])

    def _down(self, keys: Sequence[str]) -> None:
        for part in self._parts("g1", "g2", keys):
            try:
                event = offload(self.desk, "g1", "g2", part, deadline_us=self.desk.now_us)
            except TierFull:
                return
            complete_transfer(self.desk, event.transfer)

    def _parts(self, source: TierName, tier: TierName, keys: Sequence[str]) -> Iterator[Sequence[str]]:
        """What of these blocks can be moved, a transfer after the other; each is to be done before the next is asked for."""
        while keys:
            batch = next_batch(self.state, source, tier, keys, MAX_BLOCKS)
            if batch.end > batch.start:
                yield keys[batch.start : batch.end]
            keys = keys[batch.end :]

    def _resident(self, keys: Sequence[str]) -> list[str]:
        index = self.state.tiers["g1"].lineage.index
        found: list[str] = []
        for key in keys:
            if key not in index:
                break
            found.append(key)
        return found
