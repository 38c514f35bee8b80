"""Random command histories through `decide`, checked after every step: the Hypothesis machine of the state machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from kvbm_events.schema import CHECKSUM_DIGITS, ROOT, AnyEvent, Contents, TierName, TierSpec, to_slots
from kvbm_events.schema.errors import RefusedError
from kvbm_statemachine import POLICIES, SlotState, State, check_integrity, decide, digest, evolve, from_bytes, to_bytes
from kvbm_statemachine.policies import Victims
from support.block_book import BlockBook, evictable, held_slots
from support.chained_keys import key_at, prefix
from support.desks import free_slots

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
paths = st.lists(st.sampled_from([0, 0, 0, 1]), min_size=1, max_size=6).map(tuple)
picks = st.integers(0, 11)
requests = st.sampled_from(["r0", "r1", "r2"])
contents = st.sampled_from(["x", "y"])
fates = st.sampled_from(["kept", "kept", "dropped"])


class History(RuleBasedStateMachine):
    """One instance: its owner's state, a second state that folds the same events, and the book of its blocks."""

    def __init__(self, policy: str, plan: list[TierSpec]) -> None:
        super().__init__()
        self.plan = [replace(spec, policy=policy) for spec in plan]
        self.events: list[AnyEvent] = []
        self.book = BlockBook()
        self.folded = State()
        self.desk = decide.Desk(State(), self._take, 1)

    @property
    def state(self) -> State:
        return self.desk.state

    @initialize()
    def open(self) -> None:
        self._open(self.plan, keep=[], requests="dropped")

    @rule(request=requests, path=paths, hold=st.booleans())
    def match(self, request: str, path: Path, *, hold: bool) -> None:
        keys = prefix(path)
        expected = self.book.found(keys)
        hits = self._command(decide.match, request, keys, hold=hold)
        assert [(hit.tier, len(hit.slots)) for hit in hits] == expected
        held = [self.state.tiers[hit.tier].lineage.key_of(slot) for hit in hits for slot in hit.slots]
        assert held == keys[: len(held)]
        if hold:
            assert all(self._held(request, hit.tier) >= set(hit.slots) for hit in hits)

    @rule(request=requests, tier=picks, count=st.integers(1, 4), first=picks)
    def allocate(self, request: str, tier: int, count: int, first: int) -> None:
        name = self._tier(tier)
        place = self.state.tiers[name]
        room = place.slots.free + (0 if place.observed else evictable(self.state, name))
        at = [(first + i) % place.spec.capacity for i in range(count)] if place.observed else None
        order = slots_of(place.policy.victims(place.spec.capacity))
        slots = self._command(decide.allocate, name, request, count, at=at)
        if at is None:
            assert (slots is not None) == (room >= count)
            left = slots_of(place.policy.victims(place.spec.capacity))
            assert order[len(order) - len(left) :] == left, "evicting the first of an order must not change the rest"

    @rule(request=requests, tier=picks, path=paths, skip=st.integers(0, 2))
    def register(self, request: str, tier: int, path: Path, skip: int) -> None:
        """Some of the request's slots under the end of a path, be the beginning there or not."""
        name = self._tier(tier)
        slots = self._allocated(request, name)[skip : skip + len(path)]
        self._register(request, name, slots, path)

    @rule(request=requests, path=paths, ends=st.booleans())
    def serve(self, request: str, path: Path, *, ends: bool) -> None:
        """What an engine does for a prompt: look it up, fill the rest of it, let go."""
        keys = prefix(path)
        hits = self._command(decide.match, request, keys)
        found = sum(len(hit.slots) for hit in hits if hit.tier == "g1")
        place = self.state.tiers["g1"]
        free = [slot for slot, state in enumerate(place.slots.states) if not state]
        at = free[: len(keys) - found] if place.observed else None
        count = len(keys) - found if at is None else len(at)
        slots = self._command(decide.allocate, "g1", request, count, at=at) if count else None
        if slots:
            self._register(request, "g1", slots, path[: found + len(slots)])
        if ends:
            self._command(decide.release, request)

    @rule(request=requests, path=paths)
    def serve_and_end(self, request: str, path: Path) -> None:
        self.serve(request, path, ends=True)

    @rule(request=requests, tier=picks, part=st.sampled_from(["all", "tier", "slots"]), size=st.integers(1, 3))
    def release(self, request: str, tier: int, part: str, size: int) -> None:
        name = self._tier(tier)
        slots = self._allocated(request, name)[-size:] if part == "slots" else []
        self._command(decide.release, request, tier="" if part == "all" else name, slots=slots)

    @precondition(lambda self: len(self.state.tiers) > 1)
    @rule(origin=picks, goal=picks, pick=picks, size=st.integers(1, 4))
    def offload(self, origin: int, goal: int, pick: int, size: int) -> None:
        name = self._tier(origin)
        ends = name, self._other(name, goal)
        keys = self._next(ends, self._path_in(name, pick), size)
        self._command(decide.offload, *ends, keys, deadline_us=9)

    @precondition(lambda self: len(self.state.tiers) > 1)
    @rule(request=requests, origin=picks, goal=picks, pick=picks, size=st.integers(1, 4))
    def onboard(self, request: str, origin: int, goal: int, pick: int, size: int) -> None:
        name = self._tier(origin)
        keys = self._path_in(name, pick)
        self._command(decide.match, request, keys)
        ends = name, self._other(name, goal)
        keys = self._next(ends, keys, size)
        at = free_slots(self.desk, ends[1])[: len(keys)] if self.state.tiers[ends[1]].observed else None
        self._command(decide.onboard, *ends, keys, request=request, deadline_us=9, at=at)

    @precondition(lambda self: self.state.transfers)
    @rule(pick=picks, part=st.integers(0, 7))
    def complete(self, pick: int, part: int) -> None:
        transfer, slots = self._some_slots(pick, part)
        tier, waiting = self.state.transfers[transfer].tier, self.state.transfers[transfer].request
        under_way = self.state.transfers[transfer].open
        named = [slot for slot in under_way if slots is None or slot in slots]
        sums = "".join(self.state.transfers[transfer].keys[under_way[slot]][:CHECKSUM_DIGITS] for slot in named)
        event = self._command(decide.complete_transfer, transfer, slots=slots, checksums=sums if pick % 3 else "")
        if event and waiting in self.state.requests:
            final = dict(enumerate(to_slots(event.slots))) | dict(event.existing)
            assert self._held(waiting, tier) >= set(final.values())

    @precondition(lambda self: self.state.transfers)
    @rule(pick=picks, part=st.integers(0, 7), stopped=st.booleans())
    def fail(self, pick: int, part: int, *, stopped: bool) -> None:
        transfer, slots = self._some_slots(pick, part)
        self._command(decide.fail_transfer, transfer, reason="x", slots=slots, stopped=stopped)

    @rule(tier=picks, pick=picks, more=picks, reason=st.sampled_from(["operator", "corrupt", "gone", "capacity"]))
    def evict(self, tier: int, pick: int, more: int, reason: str) -> None:
        name = self._tier(tier)
        keys = self._path_in(name, pick)[-1:] + self._path_in(name, more)[-1:]
        self._command(decide.evict, name, keys, reason=reason, actor="a")

    @rule(tier=picks, path=paths, skip=st.integers(0, 3), writer=st.sampled_from(["a", "b"]))
    def note(self, tier: int, path: Path, skip: int, writer: str) -> None:
        """The end of a path is another instance's, be the beginning there or not."""
        name = self._tier(tier)
        keys, above = prefix(path)[skip:], prefix(path)[:skip]
        room = self.state.tiers[name].slots.free
        before = len(self.book.parents[name])
        parent = above[-1] if above else ROOT
        stays = parent in self.book.parents[name]
        sums = "".join(key[:CHECKSUM_DIGITS] for key in keys)
        count = self._command(decide.note, name, keys, writer=writer, parent=parent, checksums=sums)
        if count is not None:
            assert min(room, len(keys)) <= count <= len(keys)
            assert {self.book.writers[name, key] for key in keys[:count]} <= {writer}
            assert not stays or parent in self.book.parents[name], "what the note goes on from was evicted for it"
            assert len(self.book.parents[name]) <= before + count

    @rule(rank=st.integers(0, 1), pick=picks, names=st.tuples(contents, contents))
    def attach(self, rank: int, pick: int, names: tuple[str, str]) -> None:
        """A rank's memory of one tier or two comes: blocks of other contents are gone, and the others stay."""
        tiers = list(dict.fromkeys([self._tier(pick), self._tier(pick + 1)]))
        told = [Contents(tier=tier, name=name) for tier, name in zip(tiers, names, strict=False)]
        before = {tier: (self.state.tiers[tier].contents.get(rank), dict(self.book.parents[tier])) for tier in tiers}
        self._command(decide.attach, rank=rank, holder="w", contents=told)
        for each in told:
            name, blocks = before[each.tier]
            stays = self.state.tiers[each.tier].observed or name in {each.name, None}
            assert self.book.parents[each.tier] == (blocks if stays else {})
            assert self.state.tiers[each.tier].contents[rank] == each.name

    @rule(pick=picks)
    def free_quarantined(self, pick: int) -> None:
        name = self._tier(pick)
        count = self.state.tiers[name].counts()["quarantined"]
        assert self._command(decide.free_quarantined, [name], actor="a") == count
        assert self.state.tiers[name].counts()["quarantined"] == 0

    @rule(change=st.sampled_from(["", "", "lost", "policy", "policy", "capacity", "tiers"]), pick=picks, requests=fates)
    def reopen(self, change: str, pick: int, requests: str) -> None:
        """A new epoch that keeps what it can."""
        plan = self.plan.copy()
        at = pick % len(plan)
        keep = [spec.tier for spec in plan]
        if change == "lost":
            del keep[at]
        elif change == "policy":
            plan[at] = replace(plan[at], policy=list(POLICIES)[pick % len(POLICIES)])
        elif change == "capacity":
            plan[at] = replace(plan[at], capacity=plan[at].capacity + 1)
        elif change == "tiers":
            plan = plan[: at + 1]
        self._open(plan, keep=keep, requests=requests)

    @rule(origin=st.sampled_from(["folded", "snapshot", "log"]))
    def recover(self, origin: str) -> None:
        """Go on from a state that somebody else has folded, as after a restart."""
        before = digest(self.state)
        if origin == "folded":
            self.desk.state, self.folded = self.folded, self.desk.state
        elif origin == "snapshot":
            self.desk.state = from_bytes(to_bytes(self.state))
        else:
            self.desk.state = fold(self.events)
        assert digest(self.state) == before

    @invariant()
    def is_whole(self) -> None:
        assert check_integrity(self.state) == []
        matchable = {name: tier.lineage.index.keys() for name, tier in self.state.tiers.items()}
        assert matchable == {name: parents.keys() for name, parents in self.book.parents.items()}
        for name, tier in self.state.tiers.items():
            writers = {key: tier.writers[slot] for key, slot in tier.lineage.index.items() if slot in tier.writers}
            assert writers == {key: who for (place, key), who in self.book.writers.items() if place == name}
            sums = {key: tier.checksums.of([slot]) for key, slot in tier.lineage.index.items()}
            assert {key: each for key, each in sums.items() if each} == self.book.sums[name]
            states = [SlotState(tier.slots.states[slot]) for slot in self.book.haunted[name]]
            assert set(states) <= {SlotState.ALLOCATED, SlotState.QUARANTINED}

    @invariant()
    def folds_alike(self) -> None:
        assert digest(self.folded) == digest(self.state)

    @invariant()
    def names_all_victims(self) -> None:
        """The policy names every evictable block once, ends of chains first, and the same ones whoever folded."""
        before = digest(self.state)
        for name, tier in self.state.tiers.items():
            if not tier.observed:
                named = slots_of(tier.policy.victims(tier.spec.capacity))
                assert len(set(named)) == len(named) == evictable(self.state, name)
                assert named == slots_of(self.folded.tiers[name].policy.victims(tier.spec.capacity))
                assert slots_of(tier.policy.victims(2)) == named[:2]
        assert digest(self.state) == before

    def teardown(self) -> None:
        assert digest(fold(self.events)) == digest(self.state)

    def _open(self, plan: list[TierSpec], *, keep: list[TierName], requests: Any) -> None:
        event = decide.plan_opening(
            self.state, namespace="n", owner="o", tiers=plan, keep=keep, requests=requests, now_us=1
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

    def _register(self, request: str, name: TierName, slots: list[int], path: Path) -> None:
        keys, above = prefix(path)[len(path) - len(slots) :], path[: len(path) - len(slots)]
        final = self._command(decide.register, name, request, slots, keys, key_at(*above) if above else ROOT)
        if final is not None:
            index = self.state.tiers[name].lineage.index
            assert [index[key] for key in keys] == final
            assert self._held(request, name) >= set(final)

    def _tier(self, pick: int) -> TierName:
        names = list(self.state.tiers)
        return names[pick % len(names)]

    def _other(self, name: TierName, pick: int) -> TierName:
        others = [tier for tier in self.state.tiers if tier != name]
        return others[pick % len(others)]

    def _next(self, ends: tuple[TierName, TierName], keys: list[str], size: int) -> list[str]:
        """What of a path goes next: all before it is there, on its way, or gone."""
        start, end, gone = decide.next_batch(self.state, *ends, keys, size)
        have, there = (self.book.parents[name].keys() for name in ends)
        coming = self.state.incoming[ends[1]]
        can_go = [key in have and key not in there and key not in coming for key in keys]
        assert not any(can_go[:start])
        assert all(can_go[start:end])
        assert gone == sum(key not in have for key in keys[:start])
        whose = [self.book.writers.get((ends[0], key), "") for key in keys]
        assert len(set(whose[start:end])) <= 1
        is_cut = end == start or end - start == size or end == len(keys) or not can_go[end]
        assert is_cut or whose[end] != whose[end - 1]
        return keys[start:end]

    def _held(self, request: str, name: TierName) -> set[int]:
        """The registered slots of a tier that a request holds, be it by a block that stands on them."""
        return held_slots(self.state, name, self.state.requests[request].pins.get(name, []))

    def _allocated(self, request: str, name: TierName) -> list[int]:
        holder = self.state.requests.get(request)
        return to_slots(holder.allocated.get(name, [])) if holder else []

    def _path_in(self, name: TierName, pick: int) -> list[str]:
        """A block of the tier and its ancestors there, from the oldest on; none if the tier is empty."""
        parents = self.book.parents[name]
        keys = list(parents)[pick % len(parents) :][:1] if parents else []
        while keys and parents[keys[-1]] in parents:
            keys.append(parents[keys[-1]])
        return keys[::-1]

    def _some_slots(self, pick: int, part: int) -> tuple[str, list[int] | None]:
        """An open transfer and some of its destination slots, or None for all."""
        transfer = list(self.state.transfers.values())[pick % len(self.state.transfers)]
        slots = [*transfer.open, *sorted(transfer.quarantined)]
        return transfer.id, [slot for at, slot in enumerate(slots) if part >> at & 1] or None


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
