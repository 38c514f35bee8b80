"""A block's checksum: known from the event of its arrival on, told wherever it goes, forgotten with the block."""

from __future__ import annotations

import pytest

from kvbm_events.schema import ROOT, UNKNOWN_CHECKSUM
from kvbm_events.schema.errors import InvalidCommand
from kvbm_statemachine.checksums import Checksums
from kvbm_statemachine.decide import allocate, complete_transfer, evict, offload, onboard, register
from support.chained_keys import prefix
from support.desks import desk_of, put, spec

KEYS = prefix([1, 1, 1])
SUMS = "".join(digit * 16 for digit in "abc")


@pytest.fixture
def desk():
    """Three blocks in g1, and with known checksums in g2."""
    desk, _ = desk_of(spec("g1", 8), spec("g2", 8), spec("g3", 8))
    put(desk, KEYS)
    started = offload(desk, "g1", "g2", KEYS, deadline_us=9)
    assert started.checksums == "", "a block that was filled here has none"
    complete_transfer(desk, started.transfer, length_bytes=1, checksums=SUMS)
    return desk


def test_a_block_goes_on_with_the_checksum_with_which_it_came(desk):
    down = offload(desk, "g2", "g3", KEYS, deadline_us=9)
    assert down.checksums == SUMS


def test_what_comes_up_again_is_known_there_too(desk):
    evict(desk, "g1", KEYS[1:], reason="operator", actor="test")
    put(desk, prefix([2]), "r", keep=True)
    up = onboard(desk, "g2", "g1", KEYS[1:], request="r", deadline_us=9)
    assert up.checksums == SUMS[16:]
    complete_transfer(desk, up.transfer, length_bytes=1, checksums=up.checksums)
    index = desk.state.tiers["g1"].lineage.index
    assert desk.state.tiers["g1"].checksums.of([index[key] for key in KEYS]) == UNKNOWN_CHECKSUM + SUMS[16:]


def test_what_is_evicted_is_forgotten(desk):
    evict(desk, "g2", KEYS[2:], reason="operator", actor="test")
    again = offload(desk, "g1", "g2", KEYS[2:], deadline_us=9)
    assert again.checksums == ""
    complete_transfer(desk, again.transfer, length_bytes=1)
    down = offload(desk, "g2", "g3", KEYS, deadline_us=9)
    assert down.checksums == SUMS[:32] + UNKNOWN_CHECKSUM


def test_a_key_that_is_there_already_keeps_its_own(desk):
    down = offload(desk, "g2", "g3", KEYS[:1], deadline_us=9)
    register(desk, "g3", "r", allocate(desk, "g3", "r", 1), KEYS[:1], ROOT)
    complete_transfer(desk, down.transfer, length_bytes=1, checksums=SUMS[:16])
    assert desk.state.tiers["g3"].checksums.known() == []


@pytest.mark.parametrize("checksums", [SUMS[1:], SUMS + "a" * 16, "x" * 48])
def test_a_report_with_other_checksums_than_one_a_block_is_refused(desk, checksums):
    down = offload(desk, "g2", "g3", KEYS, deadline_us=9)
    with pytest.raises(InvalidCommand, match="a checksum has 16 hex digits"):
        complete_transfer(desk, down.transfer, length_bytes=1, checksums=checksums)


def test_nothing_known_takes_no_room():
    sums = Checksums(1 << 20)
    sums.clear([(0, 1 << 20)])
    assert (sums.of([0, 5]), sums.known(), len(sums.packed)) == ("", [], 0)
