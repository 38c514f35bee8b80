"""Random command histories through `decide`, checked after every step: the Hypothesis machine of the state machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.block_book import BlockBook, evictable
from support.chained_keys import key_at, prefix

from kvbm_events.schema import ROOT, AnyEvent, TierName, TierSpec
from kvbm_events.schema.errors import RefusedError
from kvbm_statemachine import POLICIES, State, check_integrity, decide, digest, evolve, from_bytes, to_bytes
from kvbm_statemachine.policies import Victims

PLANS: dict[str, list[TierSpec]] = {
    "g1": [TierSpec(tier="g1", capacity=9)],
    "g1+g2": [TierSpec(tier="g1", capacity=7), TierSpec(tier="g2", capacity=10, admission="selective")],
    "g1+g2+g3": [
        TierSpec(tier="g1", capacity=5),
        TierSpec(tier="g2", capacity=7),
        TierSpec(tier="g3", capacity=10, admission="selective", seen_min=3),
    ],
    "observed g1": [TierSpec(tier="g1", capacity=9, control="observed"), TierSpec(tier="g2", capacity=6)],
}
"""Tiers small enough that they are full most of the time."""

Path = tuple[int, ...]
paths = st.lists(st.integers(0, 1), min_size=1, max_size=6).map(tuple)
picks = st.integers(0, 11)
requests = st.sampled_from(["r0", "r1", "r2"])


class History(RuleBasedStateMachine):
    """One instance: its owner's state, a second state that folds the same events, and the book of its blocks."""

    def __init__(self, policy: str, plan: list[TierSpec]) -> None:
        super().__init__()
        self.plan = [TierSpec(**{**_fields(spec), "policy": policy}) for spec in plan]
        self.events: list[AnyEvent] = []
        self.book = BlockBook()
        self.folded = State()
        self.desk = decide.Desk(State(), self._take, 1)

    @property
    def state(self) -> State:
        return self.desk.state

    @initialize()
    def open(self) -> None:
        self._open(self.plan, keep=[], dropped=True)

    def _open(self, plan: list[TierSpec], *, keep: list[TierName], dropped: bool) -> None:
        event = decide.plan_opening(
            self.state,
            namespace="n",
            owner="o",
            tiers=plan,
            keep=keep,
            requests="dropped" if dropped else "kept",
            now_us=1,
        )
        evolve(self.state, event)
        self._take(event)

    def _take(self, event: AnyEvent) -> None:
        self.events.append(event)
        self.book.note(event)
        evolve(self.folded, event)

    def _command(self, command: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The command's answer, or None if it was refused, which must have changed nothing."""
        before, count = digest(self.state), len(self.events)
        try:
            return command(self.desk, *args, **options)
        except RefusedError:
            assert digest(self.state) == before
            assert len(self.events) == count
            return None

    def _tier(self, pick: int) -> TierName:
        names = list(self.state.tiers)
        return names[pick % len(names)]

    @rule(request=requests, path=paths, hold=st.booleans())
    def match(self, request: str, path: Path, hold: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        keys = prefix(path)
        expected = self.book.found(keys)
        hits = self._command(decide.match, request, keys, hold=hold)
        assert [(hit.tier, len(hit.slots)) for hit in hits] == expected
        held = [self.state.tiers[hit.tier].lineage.key_of(slot) for hit in hits for slot in hit.slots]
        assert held == keys[: len(held)]

    @rule(request=requests, tier=picks, count=st.integers(1, 4), first=picks)
    def allocate(self, request: str, tier: int, count: int, first: int) -> None:
        name = self._tier(tier)
        place = self.state.tiers[name]
        room = place.slots.free + (0 if place.observed else evictable(self.state, name))
        at = [(first + i) % place.spec.capacity for i in range(count)] if place.observed else None
        slots = self._command(decide.allocate, name, request, count, at=at)
        if at is None:
            assert (slots is not None) == (room >= count)

    @rule(request=requests, tier=picks, path=paths, skip=st.integers(0, 2))
    def register(self, request: str, tier: int, path: Path, skip: int) -> None:
        name = self._tier(tier)
        holder = self.state.requests.get(request)
        own = [
            slot for first, n in (holder.allocated.get(name, []) if holder else []) for slot in range(first, first + n)
        ]
        slots = own[skip : skip + len(path)]
        keys = prefix(path)[len(path) - len(slots) :]
        self._register(request, name, slots, keys, path[: len(path) - len(slots)])

    def _register(self, request: str, name: TierName, slots: list[int], keys: list[str], above: Path) -> None:
        parent = key_at(*above) if above else ROOT
        final = self._command(decide.register, name, request, slots, keys, parent)
        if final is not None:
            index = self.state.tiers[name].lineage.index
            assert [index[key] for key in keys] == final

    @rule(request=requests, path=paths, end=st.booleans())
    def serve(self, request: str, path: Path, end: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        """What an engine does for a prompt: look it up, fill the rest of it, let go."""
        keys = prefix(path)
        hits = self._command(decide.match, request, keys)
        found = sum(len(hit.slots) for hit in hits if hit.tier == "g1")
        missed = keys[found:]
        if missed and not self.state.tiers["g1"].observed:
            slots = self._command(decide.allocate, "g1", request, len(missed))
            if slots:
                self._register(request, "g1", slots, missed, path[:found])
        if end and request in self.state.requests:
            decide.release(self.desk, request)

    @rule(request=requests, tier=picks, part=st.sampled_from(["all", "tier", "slots"]), size=picks)
    def release(self, request: str, tier: int, part: str, size: int) -> None:
        name = self._tier(tier)
        holder = self.state.requests.get(request)
        own = [
            slot for first, n in (holder.allocated.get(name, []) if holder else []) for slot in range(first, first + n)
        ]
        slots = own[-(size % 3 + 1) :] if part == "slots" else []
        self._command(decide.release, request, tier="" if part == "all" else name, slots=slots)

    @rule(origin=picks, goal=picks, path=paths, size=st.integers(1, 3))
    def offload(self, origin: int, goal: int, path: Path, size: int) -> None:
        self._command(decide.offload, self._tier(origin), self._tier(goal), prefix(path), deadline_us=9, batch_max=size)

    @rule(request=requests, origin=picks, goal=picks, path=paths, size=st.integers(1, 3))
    def onboard(self, request: str, origin: int, goal: int, path: Path, size: int) -> None:
        ends = self._tier(origin), self._tier(goal)
        self._command(decide.onboard, *ends, prefix(path), request=request, deadline_us=9, batch_max=size)

    @rule(pick=picks, part=st.integers(0, 7))
    def complete(self, pick: int, part: int) -> None:
        transfer, slots = self._some_slots(pick, part)
        self._command(decide.complete_transfer, transfer, slots=slots)

    @rule(pick=picks, part=st.integers(0, 7), stopped=st.booleans())
    def fail(self, pick: int, part: int, stopped: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        transfer, slots = self._some_slots(pick, part)
        self._command(decide.fail_transfer, transfer, reason="x", slots=slots, stopped=stopped)

    def _some_slots(self, pick: int, part: int) -> tuple[str, list[int] | None]:
        """An open transfer, or one that never was; and some of its destination slots, or None for all."""
        open_ones = list(self.state.transfers.values())
        if not open_ones:
            return "0.0", None
        transfer = open_ones[pick % len(open_ones)]
        slots = [*transfer.open, *sorted(transfer.quarantined)]
        return transfer.id, [slot for at, slot in enumerate(slots) if part >> at & 1] or None

    @rule(tier=picks, path=paths, more=paths, reason=st.sampled_from(["operator", "corrupt", "ttl", "capacity"]))
    def evict(self, tier: int, path: Path, more: Path, reason: str) -> None:
        self._command(decide.evict, self._tier(tier), [key_at(*path), key_at(*more)], reason=reason, actor="a")

    @rule(
        kept=st.integers(0, 7),
        dropped=st.booleans(),
        change=st.sampled_from(["", "policy", "capacity", "tiers"]),
        pick=picks,
    )
    def reopen(self, kept: int, dropped: bool, change: str, pick: int) -> None:  # noqa: FBT001 - drawn by Hypothesis
        plan = [_changed(spec, change, pick + at) for at, spec in enumerate(self.plan)]
        if change == "tiers":
            plan = plan[: pick % len(plan) + 1]
        keep = [spec.tier for at, spec in enumerate(plan) if kept >> at & 1]
        self._open(plan, keep=keep, dropped=dropped)

    @rule(source=st.sampled_from(["folded", "snapshot", "log"]))
    def recover(self, source: str) -> None:
        """Go on from a state that somebody else has folded, as after a restart."""
        before = digest(self.state)
        if source == "folded":
            self.desk.state, self.folded = self.folded, self.desk.state
        elif source == "snapshot":
            self.desk.state = from_bytes(to_bytes(self.state))
        else:
            self.desk.state = fold(self.events)
        assert digest(self.state) == before

    @invariant()
    def is_whole(self) -> None:
        assert check_integrity(self.state) == []
        assert {name: set(tier.lineage.index) for name, tier in self.state.tiers.items()} == {
            name: set(parents) for name, parents in self.book.parents.items()
        }

    @invariant()
    def folds_alike(self) -> None:
        assert digest(self.folded) == digest(self.state)

    @invariant()
    def names_all_victims(self) -> None:
        """The policy names every evictable block once, ends of chains first, and the same ones whoever folded."""
        before = digest(self.state)
        for name, tier in self.state.tiers.items():
            if tier.observed:
                continue
            named = slots_of(tier.policy.victims(tier.spec.capacity))
            assert len(set(named)) == len(named) == evictable(self.state, name)
            assert named == slots_of(self.folded.tiers[name].policy.victims(tier.spec.capacity))
            assert slots_of(tier.policy.victims(2)) == named[:2]
        assert digest(self.state) == before

    def teardown(self) -> None:
        assert digest(fold(self.events)) == digest(self.state)


def fold(events: list[AnyEvent]) -> State:
    """The state that these events make."""
    state = State()
    for event in events:
        evolve(state, event)
    return state


def slots_of(victims: list[Victims]) -> list[int]:
    """The slots that a policy named, in the order in which they would go."""
    slots: list[int] = []
    gone: dict[int, int] = {}
    for chain, size in victims:
        end = len(chain.slots) - gone.get(chain.id, 0)
        assert 0 < size <= end
        slots += chain.slots[end - size : end][::-1]
        gone[chain.id] = gone.get(chain.id, 0) + size
    return slots


def _fields(spec: TierSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


def _changed(spec: TierSpec, change: str, pick: int) -> TierSpec:
    fields = _fields(spec)
    if change == "policy":
        fields["policy"] = list(POLICIES)[pick % len(POLICIES)]
    if change == "capacity" and pick % 2:
        fields["capacity"] = spec.capacity + 1
    return TierSpec(**fields)
