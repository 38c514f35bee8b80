"""Keys and slot runs: the columns of every event."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_events.schema import (
    KEY_DIGITS,
    check_keys,
    is_packed,
    pack_keys,
    split_runs,
    to_runs,
    to_slots,
    total,
    unpack_keys,
)
from kvbm_events.schema.errors import InvalidCommand, KvbmError, LogFull, TierFull
from support.strategies import KEYS, RUNS

SLOTS = st.lists(st.integers(0, 200), max_size=60)


@given(st.lists(KEYS, max_size=20))
def test_keys_come_back_from_their_concatenation(keys):
    assert unpack_keys(pack_keys(keys)) == keys
    assert check_keys(keys) == pack_keys(keys)
    assert is_packed(pack_keys(keys))


@pytest.mark.parametrize(
    "wrong", ["", "0" * 31, "0" * 33, "0" * 64, "A" * 32, "g" * 32, " " + "0" * 31, "0" * 30 + "é", "0" * 30 + " 0"]
)
def test_a_wrong_key_is_named(wrong):
    good = "0" * KEY_DIGITS
    with pytest.raises(InvalidCommand, match="is not a block key") as refusal:
        check_keys([good, wrong, good])
    assert repr(wrong[:48]) in str(refusal.value)


@given(st.text("0123456789abcdefABCDEF \n", max_size=80))
def test_packed_is_whole_lower_case_keys(text):
    expected = len(text) % KEY_DIGITS == 0 and set(text) <= set("0123456789abcdef")
    assert is_packed(text) is expected


@given(SLOTS)
def test_slots_come_back_from_their_runs(slots):
    runs = to_runs(slots)
    assert to_slots(runs) == slots
    assert total(runs) == len(slots)
    assert all(count > 0 for _, count in runs)
    assert all(a + n != b for (a, n), (b, _) in pairwise(runs)), "runs are as long as can be"


@given(RUNS, st.integers(0, 25))
def test_a_split_keeps_every_slot(runs, size):
    head, rest = split_runs(runs, size)
    assert to_slots(head) + to_slots(rest) == to_slots(runs)
    assert total(head) == min(size, total(runs))


def test_an_error_says_what_why_and_what_next():
    error = TierFull("g1 is full", why="all 4 slots are held", hint="release a request")
    assert str(error) == "g1 is full: all 4 slots are held. Try: release a request"
    assert (error.what, error.why, error.hint) == ("g1 is full", "all 4 slots are held", "release a request")
    assert str(KvbmError("what")) == "what"
    assert issubclass(LogFull, KvbmError)
