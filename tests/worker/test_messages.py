"""What workers and owners say to each other: round trips, and bytes of any kind."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_tiers.reports import (
    Heartbeat,
    HeldTier,
    Hello,
    InvalidReport,
    Reported,
    decode_message,
    encode,
    report_subject,
)

HELLO = Hello(
    incarnation="a",
    rank=1,
    ranks=2,
    namespace="n=1",
    tiers=[HeldTier(tier="g2", capacity=8)],
    seen=(1, 2),
    unfinished=["1.2"],
)
GOOD = Reported(incarnation="a", transfer="1.5", slots=[(0, 2)], length_bytes=64, checksums="0" * 32)
SUBJECT = "kvbm.reports.i.1.report"


@pytest.mark.parametrize("message", [HELLO, GOOD, Heartbeat(incarnation="a", seen=(3, 4), ended=True)])
def test_a_message_comes_out_as_it_went_in(message):
    assert decode_message(report_subject("i", 1, message), encode(message)) == (1, message)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"slots": [[0, 1 << 40]]}, "is not a run"),
        ({"slots": [[-1, 1]]}, "is not a run"),
        ({"slots": [[0, 400], [400, 400]]}, "800 blocks"),
        ({"checksums": "0" * 31}, "31 characters"),
        ({"checksums": "G" * 32}, "32 characters"),
        ({"slots": [], "checksums": ""}, "arrived"),
        ({"stopped": False}, "arrived"),
        ({"transfer": "1.5\n"}, "transfer"),
        ({"transfer": "../etc"}, "transfer"),
        ({"length_bytes": -1}, "length_bytes"),
        ({"type": "Hello"}, "missing required"),
        ({"type": "Heartbeat"}, "Heartbeat"),
        ({"reason": "x" * 5000}, "reason"),
    ],
)
def test_a_report_that_contradicts_itself_is_an_error_with_a_name(changes, why):
    data = msgspec.json.encode(msgspec.to_builtins(GOOD) | changes)
    with pytest.raises(InvalidReport, match=why):
        decode_message(SUBJECT, data)


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ("kvbm.reports.i.0.hello", HELLO),
        ("kvbm.reports.i.1.heartbeat", HELLO),
        ("kvbm.reports.i.99999.report", GOOD),
        ("kvbm.v1.i.g1.evicted", GOOD),
    ],
)
def test_a_message_on_another_subject_is_refused(subject, message):
    with pytest.raises(InvalidReport):
        decode_message(subject, encode(message))


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode))
def test_any_bytes_are_a_message_or_the_error(data):
    with pytest.raises(InvalidReport):
        decode_message(SUBJECT, data)


@given(
    st.dictionaries(
        st.sampled_from([*Reported.__struct_fields__, "type"]),
        st.none() | st.integers() | st.text() | st.lists(st.lists(st.integers())),
        min_size=1,
    )
)
def test_a_damaged_report_never_raises_anything_else(changes):
    with contextlib.suppress(InvalidReport):
        decode_message(SUBJECT, msgspec.json.encode(msgspec.to_builtins(GOOD) | changes))
