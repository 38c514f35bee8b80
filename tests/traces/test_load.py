"""Whatever a path holds, the answer is requests or an `InvalidTrace`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvbm_nats.traces import InvalidTrace, load_trace
from traces.samples import agent_entry, mooncake_line, session

MOONCAKE = (mooncake_line(0, ids=[0, 1, 2]) + mooncake_line(5, ids=[0, 1, 3])).encode()
SESSION = session(agent_entry(0, [1]), {"t": 1, "requests": [agent_entry(0, [5])]}).encode()


def outcome(data: bytes):
    """The requests in these bytes, or None where they were refused by name."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        path.write_bytes(data)
        try:
            return list(load_trace(path))
        except InvalidTrace as error:
            assert str(path) in error.what  # noqa: PT017 - both outcomes are right, each with a condition
            return None


def test_no_file(tmp_path):
    with pytest.raises(InvalidTrace, match="nowhere cannot be read: No such file"):
        list(load_trace(tmp_path / "nowhere"))


@pytest.mark.parametrize("content", [b"", b"\n \n", gzip.compress(b"")])
def test_an_empty_file(tmp_path, content):
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(InvalidTrace, match=r"t is empty: expected a Mooncake record"):
        list(load_trace(path))


@pytest.mark.parametrize("content", [b"{}", b'{"events": []}', b"[]", b"7", b"hello"])
def test_a_file_of_another_format_is_told_what_was_expected(tmp_path, content):
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(InvalidTrace, match=r"t:1 .*expected a Mooncake record a line, or a coding-agent session"):
        list(load_trace(path))


@pytest.mark.parametrize("content", [MOONCAKE, SESSION])
def test_a_gzip_that_was_cut_off_anywhere_is_refused(content):
    packed = gzip.compress(content)
    assert outcome(packed)
    assert [size for size in range(len(packed)) if outcome(packed[:size]) is not None] == []


@given(st.data(), st.sampled_from([MOONCAKE, SESSION]))
def test_a_damaged_gzip_is_refused_or_unharmed(data, content):
    packed = bytearray(gzip.compress(content))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    assert outcome(bytes(packed)) in (None, outcome(content))


@given(st.binary(max_size=200))
@example(b"\x1f\x8b")
@example(b"{\n")
@example(b'{"requests": "\xed\xa0\x80"}')
def test_any_bytes(data):
    outcome(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["t", "in", "requests"]), inner),
    max_leaves=6,
)


@given(st.data(), JSON)
def test_any_value_in_any_field_of_a_record(data, value):
    row = json.loads(mooncake_line())
    row[data.draw(st.sampled_from([*row, "block_size"]))] = value
    outcome(json.dumps(row).encode())


@given(st.data(), JSON)
def test_any_value_in_any_field_of_a_session(data, value):
    whole = json.loads(SESSION)
    where = data.draw(st.sampled_from([whole, *whole["requests"], whole["requests"][1]["requests"][0]]))
    where[data.draw(st.sampled_from([*where, "requests", "hash_ids"]))] = value
    outcome(json.dumps(whole).encode())
