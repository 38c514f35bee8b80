"""The rules of a block's life, pure: no clock, no I/O, no chance. `decide` makes events, `evolve` applies them."""

from kvbm_statemachine.difference import first_difference
from kvbm_statemachine.evolve import evolve
from kvbm_statemachine.integrity import check_integrity
from kvbm_statemachine.policies import POLICIES
from kvbm_statemachine.snapshot import digest, digest_of, from_bytes, to_bytes
from kvbm_statemachine.state import State
from kvbm_statemachine.table import TABLE, SlotState, Step

__all__ = [
    "POLICIES",
    "TABLE",
    "SlotState",
    "State",
    "Step",
    "check_integrity",
    "digest",
    "digest_of",
    "evolve",
    "first_difference",
    "from_bytes",
    "to_bytes",
]
