"""Recorded coding-agent sessions: one file, sub-agents, a directory of them, and what is refused."""

from __future__ import annotations

import json

import pytest

from kvbm_nats.traces import InvalidTrace, load_trace
from traces.samples import agent_entry, session


def read(path, text, **options):
    path.write_text(text)
    return list(load_trace(path, **options))


def test_a_session(tmp_path):
    first, second = read(tmp_path / "s.json", session(agent_entry(0.0, [1, 2]), agent_entry(4.5, [1, 2, 3])))
    assert (first.request, second.request) == ("s1-1", "s1-2")
    assert (first.at_s, second.at_s) == (0, 4.5)
    assert (second.tokens_in, second.tokens_out, second.block_tokens) == (197, 9, 64)
    assert second.keys[:2] == first.keys
    assert (second.new_blocks, second.full_blocks) == (1, 3)


def test_a_session_may_be_printed_over_several_lines(tmp_path):
    text = json.dumps(json.loads(session(agent_entry(0, [1]))), indent=2)
    assert len(read(tmp_path / "s.json", "\n" + text)) == 1


def test_sub_agents_run_beside_their_parent_from_their_own_start(tmp_path):
    inner = {"t": 1.0, "type": "subagent", "requests": [agent_entry(0.5, [20])]}
    agents = {"t": 10.0, "type": "subagent", "requests": [agent_entry(0.0, [7]), agent_entry(3.0, [7, 8]), inner]}
    requests = read(tmp_path / "s.json", session(agent_entry(0, [1]), agents, agent_entry(12, [1, 2])))
    assert [request.at_s for request in requests] == [0, 10, 11.5, 12, 13]
    assert requests[4].keys[0] == requests[1].keys[0]


def test_hash_ids_are_local_to_a_session(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(session(agent_entry(0, [1, 2]), name=name))
    a, b = load_trace(tmp_path)
    assert not set(a.keys) & set(b.keys)
    assert (a.new_blocks, b.new_blocks) == (2, 2)


def test_a_directory_interleaves_its_sessions(tmp_path):
    (tmp_path / "README.md").write_text("not a trace")
    for name in "abc":
        (tmp_path / f"{name}.json").write_text(session(agent_entry(0, [1]), agent_entry(25, [1, 2]), name=name))
    played = [(request.at_s, request.request) for request in load_trace(tmp_path, stagger_s=10)]
    assert played == [(0, "a-1"), (10, "b-1"), (20, "c-1"), (25, "a-2"), (35, "b-2"), (45, "c-2")]


def test_a_session_without_requests_is_no_error(tmp_path):
    (tmp_path / "a.json").write_text(session(name="a"))
    (tmp_path / "b.json").write_text(session(agent_entry(0, [1]), name="b"))
    assert [request.request for request in load_trace(tmp_path)] == ["b-1"]


def test_a_session_is_read_when_it_is_due(tmp_path):
    (tmp_path / "a.json").write_text(session(agent_entry(0, [1]), name="a"))
    (tmp_path / "b.json").write_text("nonsense")
    requests = load_trace(tmp_path, stagger_s=10)
    assert next(requests).request == "a-1"
    with pytest.raises(InvalidTrace, match=r"b\.json"):
        next(requests)


def test_two_sessions_of_one_name(tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(session(agent_entry(0, [1]), name="same"))
    with pytest.raises(InvalidTrace, match=r"b\.json has the trace id of .*a\.json.*'same'"):
        list(load_trace(tmp_path))


def test_a_directory_without_sessions(tmp_path):
    with pytest.raises(InvalidTrace, match=r"no \*\.json"):
        list(load_trace(tmp_path))


def without(field):
    entry = agent_entry(0, [1])
    del entry[field]
    return entry


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([agent_entry(0, [1]), without("in")], r"\$\.requests\[1\] is no request and no sub-agent"),
        ([without("out")], r"\$\.requests\[0\] is no request"),
        ([without("hash_ids")], r"\$\.requests\[0\] is no request"),
        ([without("t")], r"field `t` - at `\$\.requests\[0\]`"),
        ([agent_entry(-1, [1])], r"\$\.requests\[0\]\.t"),
        ([agent_entry(0, [-1])], "hash_ids"),
        ([agent_entry(0, [1], **{"in": "many"})], r"\$\.requests\[0\]\.in"),
        ([agent_entry(0, [1, 2], **{"in": 64})], r"\$\.requests\[0\]: 2 hash ids for 64 tokens"),
        ([agent_entry(0, [1, 2]), {"t": 1, "requests": [agent_entry(0, [2])]}], r"\[1\]\.requests\[0\]: hash id 2"),
        ([7], r"\$\.requests\[0\]"),
    ],
)
def test_a_bad_request_is_named_with_its_file_and_place(tmp_path, requests, said):
    with pytest.raises(InvalidTrace, match=rf"s\.json.*{said}"):
        read(tmp_path / "s.json", session(*requests))


@pytest.mark.parametrize(
    ("fields", "said"), [({"block_size": 0}, "block_size"), ({"hash_id_scope": "global"}, "global"), ({"id": ""}, "id")]
)
def test_a_bad_head(tmp_path, fields, said):
    with pytest.raises(InvalidTrace, match=said):
        read(tmp_path / "s.json", session(agent_entry(0, [1]), **fields))


def test_broken_json_is_named_with_its_line(tmp_path):
    text = json.dumps(json.loads(session(agent_entry(0, [1]))), indent=1).replace('"t":', '"t" ')
    line = text.splitlines().index(next(line for line in text.splitlines() if '"t" ' in line)) + 1
    with pytest.raises(InvalidTrace, match=rf"s\.json:{line} is not JSON"):
        read(tmp_path / "s.json", text)


def test_a_session_that_was_cut_off(tmp_path):
    with pytest.raises(InvalidTrace, match=r"s\.json:1 is not JSON.*truncated"):
        read(tmp_path / "s.json", session(agent_entry(0, [1]))[:-20])


@pytest.mark.parametrize("depth", [9, 200, 100_000])
def test_sub_agents_nest_to_a_limit(tmp_path, depth):
    text = '{"id": "s", "block_size": 64, "requests": [' + '{"t": 0, "requests": [' * depth + "]}" * depth + "]}"
    with pytest.raises(InvalidTrace, match=r"s\.json"):
        read(tmp_path / "s.json", text)
