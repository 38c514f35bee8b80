"""Matched, Released: how a request comes to hold blocks and lets them go."""

from __future__ import annotations

from kvbm_events.schema import Matched, Released
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.requests import Request
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier


def matched(state: State, event: Matched, _columns: Columns | None = None) -> None:
    """What was found was used, and is held by the request unless it only asked."""
    found: list[tuple[Tier, int]] = []
    for part in event.found:
        tier = state.tier(part.tier)
        slot = tier.lineage.index.get(part.last)
        if slot is None:
            raise IllegalTransition(f"Matched key {part.last} in {tier.name}", why="it is not registered there")
        found.append((tier, slot))
    request = None
    if event.held:
        request = state.requests.get(event.request)
        if request is None:
            request = state.requests[event.request] = Request(event.request, event.priority)
    for tier, slot in found:
        if request is not None:
            pins = request.pins.get(tier.name)
            if pins is None:
                request.pins[tier.name] = [slot]
                tier.lineage.pin(slot)
            elif slot not in pins:
                pins.append(slot)
                tier.lineage.pin(slot)
        tier.policy.touched(slot)
    for name in state.selecting:
        _count_seen(state.tiers[name], event)


def released(state: State, event: Released, _columns: Columns | None = None) -> None:
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
    tier.slots.check(Step.GIVEN_BACK, event.slots)
    rest = request.without(event.tier, event.slots)
    request.keep(event.tier, rest)
    tier.slots.move(Step.GIVEN_BACK, event.slots)


def _let_go(tier: Tier, request: Request) -> None:
    runs = request.allocated.pop(tier.name, None)
    if runs:
        tier.slots.move(Step.GIVEN_BACK, runs)
    for slot in request.pins.pop(tier.name, ()):
        tier.unpin(slot)


def _count_seen(tier: Tier, event: Matched) -> None:
    """Count what was found in this tier or above it, since the tier below chooses by how often that was."""
    for part in event.found:
        if part.tier <= tier.name and part.last in tier.lineage.index:
            tier.count_seen(tier.lineage.index[part.last])
