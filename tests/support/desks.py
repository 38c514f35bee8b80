"""A desk over a small instance, and what a test does at it over and over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvbm_events.schema import MAX_BLOCKS, ROOT, AnyEvent, TierName, TierSpec, TransferStarted
from kvbm_statemachine import State, evolve
from kvbm_statemachine.decide import Desk, allocate, next_batch, offload, onboard, plan_opening, register, release


def spec(tier: TierName, capacity: int, **more: Any) -> TierSpec:
    """A tier of a plan."""
    return TierSpec(tier=tier, capacity=capacity, **more)


def desk_of(*specs: TierSpec) -> tuple[Desk, list[AnyEvent]]:
    """A desk over an instance with these tiers, and the list that its events go to, `Opened` not among them."""
    events: list[AnyEvent] = []
    desk = Desk(State(), events.append)
    opened = plan_opening(desk.state, namespace="n=1", owner="o", tiers=specs, keep=[], requests="dropped", now_us=1)
    evolve(desk.state, opened)
    return desk, events


def put(desk: Desk, keys: Sequence[str], name: str = "r", parent: str = ROOT, *, keep: bool = False) -> list[int]:
    """Allocate and register a prompt's blocks in g1; let go of them unless they are to be kept."""
    slots = register(desk, "g1", name, allocate(desk, "g1", name, len(keys)), keys, parent)
    if not keep:
        release(desk, name)
    return slots


def start_all(
    desk: Desk,
    source: TierName,
    tier: TierName,
    keys: Sequence[str],
    *,
    request: str = "",
    batch_max: int = MAX_BLOCKS,
    deadline_us: int = 9,
) -> list[TransferStarted]:
    """Start all of these blocks that can go, batch by batch: up for the request, or down if none is named."""
    started: list[TransferStarted] = []
    while keys:
        batch = next_batch(desk.state, source, tier, keys, batch_max)
        part, keys = keys[batch.start : batch.end], keys[batch.end :]
        if part and request:
            at = free_slots(desk, tier)[: len(part)] if desk.state.tier(tier).observed else None
            started.append(onboard(desk, source, tier, part, request=request, deadline_us=deadline_us, at=at))
        elif part:
            started.append(offload(desk, source, tier, part, deadline_us=deadline_us))
    return started


def free_slots(desk: Desk, tier: TierName) -> list[int]:
    """The free slots of a tier, as an engine that decides there would know them."""
    return [slot for slot, state in enumerate(desk.state.tier(tier).slots.states) if not state]
