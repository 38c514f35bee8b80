"""Matched, Released: how a request comes to hold blocks and lets them go."""

from __future__ import annotations

from kvbm_events.schema import TIERS, Matched, Released
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.requests import Request
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier


def matched(state: State, event: Matched) -> None:
    """What was found was used, and is held by the request unless it only asked."""
    found = [(state.tier(part.tier), part.last) for part in event.found]
    for tier, last in found:
        if last not in tier.lineage.index:
            raise IllegalTransition(f"Matched key {last} in {tier.name}", why="it is not registered there")
    request = state.requests.get(event.request)
    if request is None and event.held:
        request = state.requests[event.request] = Request(event.request, event.priority)
    for tier, last in found:
        slot = tier.lineage.index[last]
        tier.policy.touched(slot)
        if request and event.held:
            pins = request.pins.setdefault(tier.name, [])
            if slot not in pins:
                tier.lineage.pin(slot)
                pins.append(slot)
        _count_seen(state, tier, last)


def released(state: State, event: Released) -> None:
    """Pins go, allocated slots become free; with nothing left in any tier the request is over."""
    request = state.request(event.request)
    if not event.tier:
        for tier in state.tiers.values():
            _let_go(tier, request)
        del state.requests[event.request]
        return
    tier = state.tier(event.tier)
    if not event.slots:
        _let_go(tier, request)
        return
    rest = request.without(event.tier, event.slots)
    tier.slots.check(Step.GIVEN_BACK, event.slots)
    request.keep(event.tier, rest)
    tier.slots.move(Step.GIVEN_BACK, event.slots)


def _let_go(tier: Tier, request: Request) -> None:
    runs = request.allocated.pop(tier.name, None)
    if runs:
        tier.slots.move(Step.GIVEN_BACK, runs)
    for slot in request.pins.pop(tier.name, ()):
        tier.unpin(slot)


def _count_seen(state: State, found_in: Tier, last: str) -> None:
    """Count the use where a tier or one below it chooses what to pass on by how often it was seen."""
    for name in TIERS[TIERS.index(found_in.name) :]:
        tier, below = state.tiers.get(name), state.below(name)
        if tier and below and below.spec.admission == "selective" and last in tier.lineage.index:
            tier.count_seen(tier.lineage.index[last])
