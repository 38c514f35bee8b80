"""decide: what an owner may command, and the events that each command becomes.

A command checks everything first; then it is refused with a named error and nothing has changed, or its events have been
applied to the state and handed to the sink, in their order. Only the owner decides; everybody else evolves.
"""

from kvbm_statemachine.decide.allocate import allocate, check_room, release
from kvbm_statemachine.decide.attach import attach, free_quarantined
from kvbm_statemachine.decide.desk import Desk, check_priority
from kvbm_statemachine.decide.evict import evict
from kvbm_statemachine.decide.lookup import Hit, look, match
from kvbm_statemachine.decide.note import note
from kvbm_statemachine.decide.opening import plan_opening
from kvbm_statemachine.decide.register import register
from kvbm_statemachine.decide.transfer import (
    Batch,
    check_destination,
    check_path,
    complete_transfer,
    fail_transfer,
    next_batch,
    offload,
    onboard,
)

__all__ = [
    "Batch",
    "Desk",
    "Hit",
    "allocate",
    "attach",
    "check_destination",
    "check_path",
    "check_priority",
    "check_room",
    "complete_transfer",
    "evict",
    "fail_transfer",
    "free_quarantined",
    "look",
    "match",
    "next_batch",
    "note",
    "offload",
    "onboard",
    "plan_opening",
    "register",
    "release",
]
