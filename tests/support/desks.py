"""A desk over a small instance, and what a test does at it over and over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvbm_events.schema import ROOT, AnyEvent, TierName, TierSpec
from kvbm_statemachine import State, evolve
from kvbm_statemachine.decide import Desk, allocate, plan_opening, register, release


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
