"""The codec is total: an event comes back as it was, and whatever else comes in is an `InvalidEvent`."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_events.codec import UnknownEvent, decode, encode
from kvbm_events.schema import AnyEvent
from kvbm_events.schema.errors import InvalidEvent
from support.strategies import BY_TYPE, EVENTS

KEY = "0123456789abcdef" * 2
HEAD = {"epoch": 1, "n": 2, "at_us": 3}
REGISTERED = {"type": "Registered", **HEAD, "tier": "g1", "request": "r", "slots": [[0, 1]], "keys": KEY}


def test_every_type_has_a_strategy():
    assert set(BY_TYPE) == set(AnyEvent.__args__)


@given(EVENTS)
def test_an_event_comes_back_as_it_was(event):
    assert decode(encode(event)) == event


@given(st.binary(max_size=200))
def test_random_bytes_are_invalid(data):
    with pytest.raises(InvalidEvent):
        decode(data)


@given(EVENTS, st.data())
def test_mutated_bytes_are_an_event_or_invalid(event, data):
    body = bytearray(encode(event))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        change = data.draw(st.sampled_from(["flip", "drop", "insert", "cut"]))
        if change == "flip":
            body[at] = data.draw(st.integers(0, 255))
        elif change == "drop" and len(body) > 1:
            del body[at]
        elif change == "insert":
            body.insert(at, data.draw(st.integers(0, 255)))
        elif at:
            del body[at:]
    try:
        found = decode(bytes(body))
    except InvalidEvent:
        return
    assert decode(encode(found)) == found


@given(EVENTS, st.text(max_size=10), st.integers() | st.text(max_size=5))
def test_a_field_that_a_newer_writer_added_is_passed_over(event, name, value):
    fields = msgspec.json.decode(encode(event))
    if name not in {*type(event).__struct_fields__, "type"}:
        assert decode(msgspec.json.encode({**fields, name: value})) == event


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"keys": KEY[:-1]}, "32-digit"),
        ({"keys": KEY.upper()}, "32-digit"),
        ({"keys": KEY + KEY}, "1 slots, but 2 keys"),
        ({"slots": [[0, 2]]}, "2 slots, but 1 keys"),
        ({"slots": [[-1, 1]]}, "is not a run"),
        ({"slots": [[0, 1], [5, 0]]}, "is not a run"),
        ({"epoch": 0}, "is no position"),
        ({"n": -1}, "is no position"),
        ({"tier": "g9"}, "Invalid enum value"),
        ({"request": None}, "Expected `str`"),
    ],
)
def test_what_is_wrong_is_said(change, why):
    with pytest.raises(InvalidEvent, match="Registered") as flaw:
        decode(msgspec.json.encode(REGISTERED | change))
    assert why in str(flaw.value)


@pytest.mark.parametrize("kind", ["Onboarded", "registered", "", "x" * 500])
def test_an_unknown_type_is_told_apart(kind):
    with pytest.raises(UnknownEvent, match="is unknown"):
        decode(msgspec.json.encode(REGISTERED | {"type": kind}))


@pytest.mark.parametrize("field", ["missed", "last"])
def test_a_look_ups_keys_are_checked(field):
    keys = {"missed": KEY, "last": KEY} | {field: KEY[1:] + "G"}
    found = [{"tier": "g1", "blocks": 1, "last": keys["last"]}]
    event = {"type": "Matched", **HEAD, "request": "r", "asked": 2, "found": found, "missed": keys["missed"]}
    with pytest.raises(InvalidEvent, match="a key is not"):
        decode(msgspec.json.encode(event))


@pytest.mark.parametrize("checksums", ["0" * 16, "0" * 31 + "x", "0" * 31 + "F"])
def test_checksums_are_one_a_slot(checksums):
    event = {
        "type": "OffloadCompleted",
        **HEAD,
        "transfer": "1.1",
        "tier": "g2",
        "slots": [[0, 2]],
        "checksums": checksums,
    }
    with pytest.raises(InvalidEvent, match="are not 16 hex digits each"):
        decode(msgspec.json.encode(event))


def test_deep_nesting_is_invalid():
    with pytest.raises(InvalidEvent):
        decode(b'{"type":"Allocated","slots":' + b"[" * 100_000)
