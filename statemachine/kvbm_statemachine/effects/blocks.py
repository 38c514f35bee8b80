"""Allocated, Registered: how a slot gets a block."""

from __future__ import annotations

from kvbm_events.schema import Allocated, Registered, to_runs
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.lineage import NO_SLOT
from kvbm_statemachine.requests import Request
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step, Transition
from kvbm_statemachine.tier import Tier


def allocated(state: State, event: Allocated, _columns: Columns | None = None) -> None:
    """Free slots go to a request, which is open from here on."""
    tier = state.tier(event.tier)
    tier.slots.check(Step.ALLOCATED, event.slots)
    request = state.requests.get(event.request)
    if request is None:
        request = state.requests[event.request] = Request(event.request, event.priority)
    tier.slots.move(Step.ALLOCATED, event.slots)
    request.priority = event.priority
    own = request.allocated.get(event.tier)
    request.allocated[event.tier] = own + event.slots if own else event.slots


def registered(state: State, event: Registered, columns: Columns | None = None) -> None:
    """Allocated slots get their keys; where a key exists, the request turns to that slot and its own is free."""
    tier, request = state.tier(event.tier), state.request(event.request)
    tier.slots.check(Step.REGISTERED, event.slots)
    columns = columns or Columns.of(event.keys, event.slots)
    keys, slots = columns.keys, columns.slots
    rest = request.without(event.tier, event.slots)
    existing = event.existing
    check_keys_fit(tier, [event.parent, *keys], keys, slots, existing)
    request.keep(event.tier, rest)
    if existing:
        last = existing[-1][1] if existing[-1][0] == len(keys) - 1 else slots[-1]
        add_around(tier, Step.REGISTERED, event.parent, keys, slots, existing)
        hold(tier, request, event.parent, last)
        return
    chain = tier.add(Step.REGISTERED, event.parent, keys, slots, event.slots)
    hold(tier, request, event.parent, chain.slots[-1])
    tier.policy.registered(chain, len(keys))


def check_keys_fit(
    tier: Tier, parents: list[str], keys: list[str], slots: list[int], existing: list[tuple[int, int]]
) -> None:
    """Whether these keys are new to the tier, except for the ones said to exist, which must be where they are said to.

    `parents` has the key before each, position by position; it may go on.

    Raises:
        IllegalTransition: they are not; the message says which.
    """
    index, orphans, named = tier.lineage.index, tier.lineage.orphans, set(keys)
    if not keys or len(keys) != len(slots) or len(named) != len(keys):
        raise IllegalTransition(f"{len(keys)} keys for {len(slots)} slots of {tier.name}", why="one each, none twice")
    fresh = keys
    if existing:
        known = dict(existing)
        for at, slot in existing:
            if not 0 <= at < len(keys) or index.get(keys[at]) != slot:
                raise IllegalTransition(f"key {at} exists in slot {slot} of {tier.name}", why="it does not")
            if tier.lineage.parent_of(slot) != parents[at]:
                raise IllegalTransition(f"key {keys[at]}", why=f"its parent in {tier.name} is another one")
        if [at for at, _ in existing] != sorted(known):
            raise IllegalTransition("existing keys", why="they are not in the order of the keys, or one is named twice")
        fresh = [key for at, key in enumerate(keys) if at not in known]
    if not index.keys().isdisjoint(fresh):
        twice = next(key for key in fresh if key in index)
        raise IllegalTransition(f"key {twice} is registered again in {tier.name}", why=f"it is in slot {index[twice]}")
    adopting = orphans.keys() & named if orphans else set[str]()
    if adopting or parents[0] in named:
        above = {key: parent for key, parent in zip(keys, parents, strict=False) if key not in index}
        _check_no_circle(tier, above, adopting | {parents[0]})


def _check_no_circle(tier: Tier, parents: dict[str, str], starts: set[str]) -> None:
    """Whether no new block would be its own ancestor: `parents` has theirs, `starts` where a circle must pass.

    Raises:
        IllegalTransition: one would; keys that are chained hashes cannot.
    """
    index = tier.lineage.index
    for key in starts:
        above, walked = key, set[str]()
        while above in parents or above in index:
            if above in walked:
                raise IllegalTransition(f"key {key} in {tier.name}", why="it would be its own ancestor")
            walked.add(above)
            above = parents[above] if above in parents else tier.lineage.above(above)


def add_around(
    tier: Tier, step: Transition, parent: str, keys: list[str], slots: list[int], existing: list[tuple[int, int]]
) -> None:
    """Register the new among these keys, and free the slots of those that exist."""
    start = 0
    for at, slot in [*existing, (len(keys), NO_SLOT)]:
        if at > start:
            part = slots[start:at]
            chain = tier.add(step, keys[start - 1] if start else parent, keys[start:at], part, to_runs(part))
            tier.policy.registered(chain, len(part))
        if slot != NO_SLOT:
            tier.slots.move(Step.DUPLICATE, [(slots[at], 1)])
            tier.touch(slot)
        start = at + 1


def hold(tier: Tier, request: Request, parent: str, slot: int) -> None:
    """Let the request hold a block; if it held the parent, the pin moves on, since the child holds the parent too."""
    lineage, pins = tier.lineage, request.pins.get(tier.name)
    if pins is None:
        lineage.pin(slot)
        request.pins[tier.name] = [slot]
    elif slot not in pins:
        lineage.pin(slot)
        pins.append(slot)
        held = lineage.index.get(parent, NO_SLOT)
        if held in pins:
            pins.remove(held)
            tier.unpin(held)
