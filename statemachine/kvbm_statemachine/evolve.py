"""evolve: what each event does to the state. The owner, recovery, the projection, replay and tests all run this.

Rules
1. Every handler checks first and changes afterwards, so that an illegal event leaves the state as it was.
2. Nothing is decided here: an event happened. What is not in the event or in the state plays no part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvbm_events.schema import (
    Allocated,
    AnyEvent,
    Attached,
    Evicted,
    Matched,
    Noted,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    OnboardCompleted,
    OnboardFailed,
    OnboardStarted,
    Opened,
    Registered,
    Released,
)
from kvbm_events.schema.errors import IllegalTransition, RefusedError
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.effects import attachment, blocks, evictions, lookups, notes, opening, transfers
from kvbm_statemachine.state import State

_HANDLERS: dict[type[AnyEvent], Callable[[State, Any, Columns | None], None]] = {
    Opened: opening.opened,
    Attached: attachment.attached,
    Allocated: blocks.allocated,
    Registered: blocks.registered,
    Noted: notes.noted,
    Evicted: evictions.evicted,
    Matched: lookups.matched,
    Released: lookups.released,
    OffloadStarted: transfers.started,
    OffloadCompleted: transfers.completed,
    OffloadFailed: transfers.failed,
    OnboardStarted: transfers.started,
    OnboardCompleted: transfers.completed,
    OnboardFailed: transfers.failed,
}


def evolve(state: State, event: AnyEvent, columns: Columns | None = None) -> None:
    """Apply the next event; `columns` are its own, where the caller has them unpacked.

    Raises:
        IllegalTransition: the event is not the next one, or the table does not allow it; the state is untouched.
    """
    kind = type(event)
    if kind is not Opened and (event.epoch != state.epoch or not 0 < event.n == state.n + 1):
        raise IllegalTransition(
            f"{kind.__name__} {event.epoch}.{event.n}",
            why=f"after {state.epoch}.{state.n} comes {state.epoch}.{state.n + 1}"
            if state.epoch
            else "nothing is open",
            hint="feed events through a Sequencer",
        )
    try:
        _HANDLERS[kind](state, event, columns)
    except IllegalTransition:
        raise
    except RefusedError as refusal:  # the event names a tier, request or transfer that is not there
        raise IllegalTransition(f"{kind.__name__} {event.epoch}.{event.n}", why=str(refusal)) from refusal
    state.epoch, state.n = event.epoch, event.n
