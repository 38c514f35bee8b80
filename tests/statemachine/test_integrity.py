"""check_integrity sees what it is there for: each fault, planted behind the door, has its sentence."""

from __future__ import annotations

import re

import pytest

from kvbm_statemachine import SlotState, check_integrity
from kvbm_statemachine.decide import allocate, evict, fail_transfer, match, offload
from kvbm_statemachine.lineage import NO_SLOT
from support.chained_keys import key_at, prefix
from support.desks import desk_of, put, spec

KEYS = prefix([1, 1])
BRANCH = prefix([1, 2])[1:]
CORRUPT = prefix([3, 3])


def whole():
    """A state with a bit of everything: branches, holds, an allocation, condemned and quarantined slots, a transfer."""
    desk, _ = desk_of(spec("g1", 12), spec("g2", 8))
    put(desk, KEYS)
    put(desk, BRANCH, parent=KEYS[0])
    put(desk, CORRUPT, "c", keep=True)
    evict(desk, "g1", CORRUPT, reason="corrupt", actor="test")
    match(desk, "r", KEYS)
    allocate(desk, "g1", "r", 1)
    started = offload(desk, "g1", "g2", KEYS, deadline_us=9)
    fail_transfer(desk, started.transfer, reason="x", slots=[0], stopped=False)
    assert check_integrity(desk.state) == []
    return desk.state


def chain(state, key):
    lineage = state.tiers["g1"].lineage
    return lineage.chain_of(lineage.index[key])


def transfer(state):
    (only,) = state.transfers.values()
    return only


FAULTS = {
    "with 12 free": lambda state: setattr(state.tiers["g1"].slots, "free", 12),
    "1 allocated, but 0 by requests": lambda state: state.requests["r"].allocated.clear(),
    "1 allocated, but 0 by requests and 0 by transfers": lambda state: transfer(state).open.clear(),
    "1 quarantined, but transfers know 0": lambda state: transfer(state).quarantined.clear(),
    "keys on their way differ": lambda state: state.incoming["g2"].clear(),
    "slots and 0 keys": lambda state: (chain(state, BRANCH[0]).keys.clear(), chain(state, BRANCH[0]).slots.clear()),
    "slot 0 is not what chain 0 says": lambda state: state.tiers["g1"].slots.states.__setitem__(0, SlotState.CONDEMNED),
    "is not indexed to slot": lambda state: state.tiers["g1"].lineage.index.pop(KEYS[1]),
    "5 keys indexed, 3 slots registered": lambda state: state.tiers["g1"].lineage.index.update(
        {key_at(8): 8, key_at(9): 9}
    ),
    "is condemned, and 2 slots of it are not free yet": lambda state: next(
        chain for chain in state.tiers["g1"].lineage.chains.values() if chain.condemned
    ).pins.clear(),
    "condemned slots without a chain": lambda state: state.tiers["g1"].slots.states.__setitem__(9, SlotState.CONDEMNED),
    "g2: slot 6 has a checksum and no block": lambda state: state.tiers["g2"].checksums.put([6], "a" * 16),
    "is an orphan though its parent": lambda state: setattr(chain(state, BRANCH[0]), "parent_slot", NO_SLOT),
    "does not hang on its parent": lambda state: setattr(chain(state, BRANCH[0]), "parent_key", key_at(9)),
    r"pins \(there, wanted\) by slot: \{1: \(2, 1\)\}": lambda state: state.requests["r"].pins.clear(),
    "has no source": lambda state: setattr(transfer(state), "source", "g4"),
    "is over, or has no destination": lambda state: (transfer(state).open.clear(), transfer(state).quarantined.clear()),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_planted_fault_is_named(said):
    state = whole()
    FAULTS[said](state)
    assert any(re.search(said, flaw) for flaw in check_integrity(state)), check_integrity(state)
