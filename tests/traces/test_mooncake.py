"""The Mooncake format: what is read, what is refused and with which words, and that writing is its inverse."""

from __future__ import annotations

import gzip
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_events.schema import check_keys
from kvbm_nats.traces import InvalidTrace, Workload, generate, load_trace, measure, mooncake, write
from traces.samples import mooncake_line


def read(tmp_path, text, **options):
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    return list(load_trace(path, **options))


def test_a_record(tmp_path):
    (request,) = read(tmp_path, mooncake_line(timestamp=0, tokens=1100, ids=[4, 5, 6]))
    assert (request.tokens_in, request.tokens_out, request.block_tokens) == (1100, 7, 512)
    assert (request.at_s, request.request) == (0, "trace-1")
    assert (len(request.keys), request.full_blocks, request.new_blocks) == (3, 2, 3)
    check_keys(request.keys)


def test_times_count_in_seconds_from_the_first_record(tmp_path):
    lines = mooncake_line(timestamp=1_700_000_000_000) + mooncake_line(timestamp=1_700_000_001_500)
    assert [request.at_s for request in read(tmp_path, lines)] == [0, 1.5]


def test_the_same_prefix_has_the_same_keys_and_only_the_rest_is_new(tmp_path):
    first, second = read(tmp_path, mooncake_line(ids=[0, 1, 2]) + mooncake_line(ids=[0, 1, 3]))
    assert first.keys[:2] == second.keys[:2]
    assert first.keys[2] != second.keys[2]
    assert second.new_blocks == 1


def test_the_scope_is_the_file_unless_one_is_given(tmp_path):
    line = mooncake_line()
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(line)
    (a,), (b,) = (list(load_trace(tmp_path / name)) for name in ("a.jsonl", "b.jsonl"))
    (a2,), (b2,) = (list(load_trace(tmp_path / name, scope="one")) for name in ("a.jsonl", "b.jsonl"))
    assert not set(a.keys) & set(b.keys)
    assert a2.keys == b2.keys


def test_a_name_that_is_no_utf8_still_gives_names_that_are(tmp_path):
    path = tmp_path / "tr\udcffce.jsonl"
    path.write_text(mooncake_line())
    (request,) = load_trace(path)
    assert request.request == "tr_ce-1"


def test_gzip_is_told_by_content(tmp_path):
    path = tmp_path / "no_suffix"
    path.write_bytes(gzip.compress((mooncake_line() * 3).encode()))
    assert len(list(load_trace(path))) == 3


def test_blank_lines_are_passed_over_and_counted(tmp_path):
    assert [r.request for r in read(tmp_path, "\n\n" + mooncake_line() + "\n" + mooncake_line())] == [
        "trace-3",
        "trace-5",
    ]


def test_the_block_size_of_the_record_wins_over_the_one_that_is_given(tmp_path):
    lines = mooncake_line(tokens=30, ids=[0, 1, 2], block_size=10)
    assert read(tmp_path, lines, block_tokens=16)[0].block_tokens == 10
    assert read(tmp_path, mooncake_line(tokens=30, ids=[0, 1]), block_tokens=16)[0].block_tokens == 16


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense\n", "is not JSON"),
        ('{"timestamp": 1\n', "is not JSON"),
        ("[1, 2]\n", "other fields or values"),
        ('{"timestamp": 1, "input_length": 3, "output_length": 4}\n', "hash_ids"),
        (mooncake_line(timestamp=-1), "timestamp"),
        (mooncake_line(timestamp="soon"), "timestamp"),
        (mooncake_line(tokens=-5), "input_length"),
        (mooncake_line(tokens=True), "input_length"),
        (mooncake_line(tokens=10**30), "input_length"),
        (mooncake_line(ids=[0, -1]), r"\$\.hash_ids\[1\]"),
        (mooncake_line(ids=[0, "1"]), r"\$\.hash_ids\[1\]"),
        (mooncake_line(ids=[0, 1.5]), r"\$\.hash_ids\[1\]"),
        (mooncake_line(block_size=0), "block_size"),
        (mooncake_line(tokens=512, ids=[0, 1]), "at most 1 blocks of 512"),
        (mooncake_line(ids=[1, 0]), "hash id 1 comes first, but after 0 elsewhere"),
        (mooncake_line(ids=[0, 2]), "hash id 2 comes after 0, but after 1 elsewhere"),
        (mooncake_line(ids=[0, 0]), "hash id 0 comes after 0, but first elsewhere"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 1, "hash_ids": []}\n', "is not JSON"),
        ('{"timestamp": 1e400, "input_length": 1, "output_length": 1, "hash_ids": []}\n', ""),
        ("[" * 100_000 + "\n", ""),
        ("\x00\n", "is not JSON"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(tmp_path, line, said):
    with pytest.raises(InvalidTrace, match=re.escape(f"{tmp_path / 'trace.jsonl'}:3")) as caught:
        read(tmp_path, mooncake_line() + "\n" + line)
    assert re.search(said, str(caught.value))


def test_bytes_that_are_no_utf8(tmp_path):
    path = tmp_path / "t"
    path.write_bytes(mooncake_line().encode() + b'{"timestamp": 0, "x": "\xff\xfe"}\n')
    with pytest.raises(InvalidTrace, match="t:2"):
        list(load_trace(path))


def test_time_does_not_run_back(tmp_path):
    with pytest.raises(InvalidTrace, match=r"jsonl:2: timestamp 4 comes after 5.*sort"):
        read(tmp_path, mooncake_line(timestamp=5) + mooncake_line(timestamp=4))


def test_what_stands_before_a_bad_line_is_still_played(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(mooncake_line() + "nonsense\n")
    requests = load_trace(path)
    assert next(requests).request == "t-1"
    with pytest.raises(InvalidTrace):
        next(requests)


def test_a_record_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("kvbm_nats.traces.files.RECORD_BYTES_MAX", 100)
    with pytest.raises(InvalidTrace, match="jsonl:2 is too long"):
        read(tmp_path, mooncake_line() + mooncake_line(ids=range(0, 300, 3), tokens=10**6))


def test_a_trace_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("kvbm_nats.traces.identity.IDS_MAX", 3)
    with pytest.raises(InvalidTrace, match=r"jsonl:2: the trace is too large.*3 different"):
        read(tmp_path, mooncake_line(ids=[0, 1, 2]) + mooncake_line(ids=[0, 1, 3]))
    with pytest.raises(InvalidTrace, match="too large"):
        write(generate(Workload(requests=2)), io.BytesIO())


@given(st.integers(0, 2**32), st.sampled_from([16, 64, 512]))
def test_a_written_trace_reads_back_the_same(seed, block_tokens):
    made = list(generate(Workload(seed=seed, requests=20, block_tokens=block_tokens, context_tokens_max=9000)))
    file = io.BytesIO()
    write(made, file)
    lines = enumerate(file.getvalue().splitlines(), 1)
    read_back = list(mooncake.read(lines, "made", scope=f"workload-{seed}"))
    start_s = made[0].at_s
    for before, after in zip(made, read_back, strict=True):
        assert after.at_s == pytest.approx(before.at_s - start_s, abs=1e-6)
        for field in ("request", "keys", "new_blocks", "tokens_in", "tokens_out", "block_tokens"):
            assert getattr(after, field) == getattr(before, field)


def test_a_written_line_is_a_plain_mooncake_record(tmp_path):
    file = io.BytesIO()
    write(generate(Workload(requests=5)), file)
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert all({"timestamp", "input_length", "output_length", "hash_ids"} <= row.keys() for row in rows)
    assert rows[0]["hash_ids"] == list(range(len(rows[0]["hash_ids"])))
    assert measure(read(tmp_path, file.getvalue().decode())).requests == 5
