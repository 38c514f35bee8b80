"""`kvbm trace stats` and `kvbm trace make`, from outside."""

from __future__ import annotations

import gzip
import json

import pytest

from traces.samples import agent_entry, mooncake_line, session

FIELDS = {
    "trace": str,
    "requests": int,
    "block_accesses": int,
    "unique_blocks": int,
    "infinite_hit_ratio": float,
    "tokens_in": int,
    "tokens_out": int,
    "span_s": float,
    "block_tokens": int,
}


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "two.jsonl"
    path.write_text(mooncake_line(0, ids=[0, 1, 2]) + mooncake_line(90_000, ids=[0, 1, 3]))
    return path


def test_stats_as_json(kvbm, trace):
    done = kvbm("trace", "stats", trace, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "trace": str(trace),
        "requests": 2,
        "block_accesses": 6,
        "unique_blocks": 4,
        "infinite_hit_ratio": pytest.approx(1 / 3),
        "tokens_in": 3072,
        "tokens_out": 14,
        "span_s": 90.0,
        "block_tokens": 512,
    }


def test_stats_for_people(kvbm, trace):
    done = kvbm("trace", "stats", trace)
    assert (done.returncode, done.stderr) == (0, "")
    figures = {" ".join(words[:-1]): words[-1] for words in map(str.split, done.stdout.splitlines()) if words}
    assert figures["trace"] == "two.jsonl"
    assert figures["block accesses"] == "6"
    assert figures["infinite-cache hit"] == "33.3%"


def test_stats_of_several_traces(kvbm, trace, tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "a.json.gz").write_bytes(gzip.compress(session(agent_entry(0, [1, 2])).encode()))
    done = kvbm("trace", "stats", trace, tmp_path / "agents", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["requests"], row["block_tokens"]) for row in rows] == [(2, 512), (1, 64)]
    for row in rows:
        assert {name: type(value) for name, value in row.items()} == FIELDS


def test_stats_before_a_bad_trace_are_still_told(kvbm, trace, tmp_path):
    done = kvbm("trace", "stats", trace, tmp_path / "nowhere", "--json")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == f"kvbm: {tmp_path}/nowhere cannot be read\n  No such file or directory\n"


def test_stats_names_the_line(kvbm, trace):
    trace.write_text(trace.read_text() + "nonsense\n")
    done = kvbm("trace", "stats", trace)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"kvbm: {trace}:3 is not JSON\n")


def test_block_tokens_are_for_traces_that_do_not_say(kvbm, tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_text(mooncake_line(tokens=48, ids=[0, 1, 2]))
    assert kvbm("trace", "stats", path).returncode == 2
    assert json.loads(kvbm("trace", "stats", path, "--block-tokens", 16, "--json").stdout)["block_tokens"] == 16


def test_made_traces_can_be_read_and_are_the_same_each_time(kvbm, tmp_path):
    options = ("--requests", 300, "--seed", 7, "--agent.turns", 5)
    done = kvbm("trace", "make", tmp_path / "a.jsonl", *options, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    assert {name: type(value) for name, value in made.items()} == FIELDS
    kvbm("trace", "make", tmp_path / "b.jsonl", *options)
    kvbm("trace", "make", tmp_path / "c.jsonl.gz", *options)
    piped = kvbm("trace", "make", "-", *options)
    whole = (tmp_path / "a.jsonl").read_text()
    assert whole == (tmp_path / "b.jsonl").read_text() == piped.stdout
    assert whole == gzip.decompress((tmp_path / "c.jsonl.gz").read_bytes()).decode()
    read = json.loads(kvbm("trace", "stats", tmp_path / "c.jsonl.gz", "--json").stdout)
    counted = ("requests", "block_accesses", "unique_blocks", "tokens_in", "tokens_out", "block_tokens")
    assert [read[name] for name in counted] == [made[name] for name in counted]


def test_packed_files_are_the_same_bytes_each_time(kvbm, tmp_path):
    for name in ("a.gz", "b.gz"):
        kvbm("trace", "make", tmp_path / name, "--requests", 5)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_made_file_is_the_user_s_alone(kvbm, tmp_path):
    kvbm("trace", "make", "t.jsonl", "--requests", 5)
    assert (tmp_path / "t.jsonl").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_a_file_is_overwritten_only_by_force(kvbm, tmp_path):
    (tmp_path / "t").write_text("precious")
    done = kvbm("trace", "make", "t", "--requests", 5)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kvbm: t is there already\nTry: ")
    assert (tmp_path / "t").read_text() == "precious"
    assert kvbm("trace", "make", "t", "--requests", 5, "--force").returncode == 0
    assert (tmp_path / "t").read_text().startswith("{")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["t"], "an endless trace fits no file\nTry: say how many"),
        (["t", "--requests", "-1"], "requests = -1 makes no workload\n  it must be from 0"),
        (["t", "--requests", "5", "--chat.turns", "0"], "chat.turns = 0.0 makes no workload"),
        (["nowhere/t", "--requests", "5"], "nowhere/t cannot be written\n  No such file or directory"),
        ([".", "--requests", "5", "--force"], ". is not a file\nTry: use '-' for stdout"),
        (["/dev/null", "--requests", "5", "--force"], "/dev/null is not a file"),
        (["--bogus"], "unknown option --bogus\nTry: kvbm trace make --help"),
    ],
)
def test_what_cannot_be_made(kvbm, tmp_path, arguments, said):
    done = kvbm("trace", "make", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"kvbm: {said}" in done.stderr
    assert list(tmp_path.iterdir()) == []
