"""The life of a slot. Rule 1: a slot changes its state by a row of TABLE and by nothing else (`slots.Slots.move`).

The diagram in `statemachine/README.md` is printed from this table (`python -m kvbm_statemachine.diagram`).
"""

from __future__ import annotations

from enum import IntEnum
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
    """evicted as lost while somebody still refers to it: not matchable, free when the last one lets go"""
    QUARANTINED = 4
    """a transfer that is over may still write here: free when its mover is known to have stopped"""


class Transition(NamedTuple):
    """One row: from which state, to which state, by which event in which role."""

    before: SlotState
    after: SlotState
    cause: str


_FREE, _ALLOCATED, _REGISTERED, _CONDEMNED, _QUARANTINED = SlotState


class Step:
    """The rows by name. A plain class, since looking a member of an Enum up costs more than the step itself."""

    ALLOCATED = Transition(_FREE, _ALLOCATED, "Allocated")
    RESERVED = Transition(_FREE, _ALLOCATED, "…Started (destination)")
    REGISTERED = Transition(_ALLOCATED, _REGISTERED, "Registered")
    DUPLICATE = Transition(_ALLOCATED, _FREE, "Registered, …Completed (key exists)")
    GIVEN_BACK = Transition(_ALLOCATED, _FREE, "Released")
    NOTED = Transition(_FREE, _REGISTERED, "Noted")
    ARRIVED = Transition(_ALLOCATED, _REGISTERED, "…Completed")
    FAILED = Transition(_ALLOCATED, _FREE, "…Failed (stopped)")
    DOUBTFUL = Transition(_ALLOCATED, _QUARANTINED, "…Failed (not stopped)")
    INHERITED = Transition(_FREE, _QUARANTINED, "Opened (empty, a transfer is open)")
    CLEARED = Transition(_QUARANTINED, _FREE, "…Failed (now stopped)")
    MATCHED = Transition(_REGISTERED, _REGISTERED, "Matched, …Started (source)")
    UNHELD = Transition(_REGISTERED, _REGISTERED, "Released, …Completed, …Failed (source)")
    EVICTED = Transition(_REGISTERED, _FREE, "Evicted")
    CONDEMNED = Transition(_REGISTERED, _CONDEMNED, "Evicted (lost, held)")
    LAST_UNHELD = Transition(_CONDEMNED, _FREE, "Released, …Completed, …Failed (last holder)")


TABLE: tuple[Transition, ...] = tuple(row for row in vars(Step).values() if isinstance(row, Transition))
"""The whole machine: what is not a row here cannot happen to a slot."""
