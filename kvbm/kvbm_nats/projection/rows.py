"""Rows of a state as it is now, in the order of their table's columns."""

from __future__ import annotations

from typing import Any

from msgspec.json import Encoder

from kvbm_events.schema import TierName, to_runs
from kvbm_nats.projection.changes import Row
from kvbm_statemachine import SlotState, State
from kvbm_statemachine.requests import Request
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer

_encode = Encoder().encode


class Followed:
    """One instance as a projector follows it.

    :ivar id: its number in the tables
    :ivar seq, at_us: of its last applied event
    :ivar early: by epoch and n, the sequence of each event that waits for its turn
    :ivar condemned: by tier, its condemned slots: they become free without an event that names them
    :ivar weight: how much was folded since its last snapshot in the projection
    """

    __slots__ = ("at_us", "condemned", "early", "id", "name", "seq", "state", "weight")

    def __init__(self, instance_id: int, name: str, state: State) -> None:
        self.id, self.name, self.state = instance_id, name, state
        self.seq = self.at_us = self.weight = 0
        self.early: dict[tuple[int, int], int] = {}
        self.condemned: dict[TierName, set[int]] = {}
        for tier in state.tiers.values():
            states = tier.slots.states
            if states.count(SlotState.CONDEMNED):
                self.condemned[tier.name] = {slot for slot, at in enumerate(states) if at == SlotState.CONDEMNED}


def instance_row(here: Followed) -> Row:
    """A row of `instance`."""
    state = here.state
    return here.id, here.name, state.namespace, state.epoch, state.n, here.seq, here.at_us


def tier_row(here: Followed, tier: Tier) -> Row:
    """A row of `tier`. Counts what is counted already: the slots themselves are not looked at."""
    spec, free, registered = tier.spec, tier.slots.free, len(tier.lineage.index)
    condemned = len(here.condemned.get(tier.name, ()))
    arriving = [transfer for transfer in here.state.transfers.values() if transfer.tier == tier.name]
    quarantined = sum(len(transfer.quarantined) for transfer in arriving)
    allocated = spec.capacity - free - registered - condemned - quarantined
    return (
        here.id,
        spec.tier,
        spec.capacity,
        spec.policy,
        spec.control,
        spec.admission,
        spec.seen_min,
        spec.priority_min,
        free,
        allocated,
        registered,
        condemned,
        quarantined,
    )


def request_row(instance_id: int, request: Request) -> Row:
    """A row of `request`."""
    return instance_id, request.name, request.priority, _json(request.allocated), _json(request.pins)


def transfer_row(instance_id: int, transfer: Transfer) -> Row:
    """A row of `transfer`."""
    return (
        instance_id,
        transfer.id,
        transfer.kind,
        transfer.source,
        transfer.tier,
        transfer.request,
        transfer.priority,
        transfer.deadline_us,
        _json(to_runs(transfer.slots)),
        _json(to_runs(list(transfer.open))),
        _json(to_runs(sorted(transfer.quarantined))),
    )


def _json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can carry
    return _encode(value).decode()
