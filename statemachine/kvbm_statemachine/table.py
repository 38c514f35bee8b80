"""The life of a slot. Rule 1: a slot changes its state by a row of TABLE and by nothing else (`slots.Slots.move`).

The diagram in `statemachine/README.md` is printed from this table (`python -m kvbm_statemachine.diagram`).
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class SlotState(IntEnum):
    """What a slot is, as one byte a slot."""

    FREE = 0
    """holds nothing"""
    ALLOCATED = 1
    """being filled: by a request, or by a transfer"""
    REGISTERED = 2
    """full and matchable; held while a request or transfer refers to it, else cached"""
    CONDEMNED = 3
    """evicted as corrupt while somebody still refers to it: not matchable, free when the last one lets go"""
    QUARANTINED = 4
    """a failed transfer may still write here: free when its mover is known to have stopped"""


class Transition(NamedTuple):
    """One row: from which state, by which event in which role, to which state."""

    before: SlotState
    cause: str
    after: SlotState


class Step(Enum):
    """Every step that a slot can take; the value is its row."""

    ALLOCATED = Transition(SlotState.FREE, "Allocated", SlotState.ALLOCATED)
    RESERVED = Transition(SlotState.FREE, "…Started (destination)", SlotState.ALLOCATED)
    REGISTERED = Transition(SlotState.ALLOCATED, "Registered", SlotState.REGISTERED)
    DUPLICATE = Transition(SlotState.ALLOCATED, "Registered, …Completed (key exists)", SlotState.FREE)
    GIVEN_BACK = Transition(SlotState.ALLOCATED, "Released", SlotState.FREE)
    ARRIVED = Transition(SlotState.ALLOCATED, "…Completed", SlotState.REGISTERED)
    FAILED = Transition(SlotState.ALLOCATED, "…Failed (stopped)", SlotState.FREE)
    DOUBTFUL = Transition(SlotState.ALLOCATED, "…Failed (not stopped)", SlotState.QUARANTINED)
    CLEARED = Transition(SlotState.QUARANTINED, "…Failed (stopped)", SlotState.FREE)
    MATCHED = Transition(SlotState.REGISTERED, "Matched, …Started (source)", SlotState.REGISTERED)
    UNHELD = Transition(SlotState.REGISTERED, "Released, …Completed, …Failed (source)", SlotState.REGISTERED)
    EVICTED = Transition(SlotState.REGISTERED, "Evicted", SlotState.FREE)
    CONDEMNED = Transition(SlotState.REGISTERED, "Evicted (corrupt, held)", SlotState.CONDEMNED)
    LAST_UNHELD = Transition(SlotState.CONDEMNED, "Released, …Completed, …Failed (last holder)", SlotState.FREE)


TABLE: dict[Step, Transition] = {step: step.value for step in Step}
"""The whole machine: a pair of state and step that is not here cannot happen."""
