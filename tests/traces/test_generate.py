"""Generated traces: repeatable, well formed, and of the shapes they claim."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice, pairwise
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.traces import Agent, Chat, Workload, generate, measure

workloads = st.builds(
    Workload,
    seed=st.integers(0, 2**64),
    requests=st.just(60),
    block_tokens=st.sampled_from([7, 16, 100, 512]),
    sessions_per_s=st.sampled_from([0.01, 1.0, 100.0]),
    sessions_max=st.integers(1, 5),
    agent_share=st.floats(0, 1),
    system_prompts=st.integers(1, 4),
    system_tokens=st.integers(0, 500),
    context_tokens_max=st.integers(1000, 5000),
    summary_tokens=st.integers(0, 500),
    chat=st.builds(Chat, opening_tokens=st.floats(0, 2000), turns=st.floats(1, 5), pause_s=st.floats(0, 10)),
    agent=st.builds(Agent, opening_tokens=st.floats(0, 2000), step_tokens=st.floats(0, 300), turns=st.floats(1, 50)),
)


@given(workloads)
def test_a_workload_gives_the_same_trace_each_time(workload):
    assert list(generate(workload)) == list(generate(workload))


def test_another_seed_is_another_trace():
    first, second = (list(generate(Workload(seed=seed, requests=10))) for seed in (1, 2))
    assert not set(chain(*(r.keys for r in first))) & set(chain(*(r.keys for r in second)))
    assert [r.tokens_in for r in first] != [r.tokens_in for r in second]


@given(workloads)
def test_requests_are_well_formed(workload):
    requests = list(generate(workload))
    assert len(requests) == 60
    assert len({r.request for r in requests}) == 60
    parents: dict[str, str] = {}
    at_s = 0.0
    for request in requests:
        assert request.at_s >= at_s
        at_s = request.at_s
        assert len(request.keys) == request.full_blocks == request.tokens_in // workload.block_tokens
        assert request.tokens_in <= workload.context_tokens_max
        fresh = [key for key in request.keys if key not in parents]
        assert fresh == request.keys[len(request.keys) - request.new_blocks :]
        for parent, key in zip(["", *request.keys], request.keys, strict=False):
            assert parents.setdefault(key, parent) == parent


@given(workloads)
def test_the_hit_ratio_is_that_of_a_cache_that_keeps_everything(workload):
    seen: set[str] = set()
    hits = accesses = 0
    for request in generate(workload):
        for key in request.keys:
            if key not in seen:
                break
            hits += 1
        accesses += len(request.keys)
        seen.update(request.keys)
    stats = measure(generate(workload))
    assert (stats.block_accesses, stats.unique_blocks) == (accesses, len(seen))
    assert stats.infinite_hit_ratio == pytest.approx(hits / accesses if accesses else 0)


def test_a_workload_without_a_number_of_requests_does_not_end():
    workload = Workload(seed=3)
    assert list(islice(generate(workload), 200)) == list(generate(replace(workload, requests=200)))


def test_chats_and_agents_reuse_as_much_as_recorded_ones():
    chats = measure(generate(Workload(requests=5000, agent_share=0)))
    agents = measure(generate(Workload(requests=5000, agent_share=1)))
    assert 0.33 < chats.infinite_hit_ratio < 0.50
    assert 0.90 < agents.infinite_hit_ratio < 0.98


def test_agents_ask_for_long_prompts_and_add_little():
    requests = list(generate(Workload(requests=2000, agent_share=1)))
    turns = [r for r in requests if 0 < r.new_blocks < len(r.keys) // 2]
    assert len(turns) > 1800
    assert sum(len(r.keys) for r in turns) / len(turns) > 500
    assert sum(r.new_blocks for r in turns) / len(turns) < 50


def test_system_prompts_are_shared():
    workload = Workload(requests=300, agent_share=0, system_prompts=3, system_tokens=640, chat=Chat(turns=1))
    firsts = [r.keys[0] for r in generate(workload)]
    counts = sorted((firsts.count(key) for key in set(firsts)), reverse=True)
    assert len(counts) == 3
    assert counts[0] > counts[2]


def test_a_prompt_over_the_limit_is_compacted_to_its_system_prompt():
    workload = Workload(
        requests=400, agent_share=1, sessions_max=1, system_prompts=1, system_tokens=640, block_tokens=64,
        context_tokens_max=8000, summary_tokens=500, agent=Agent(opening_tokens=1000, turns=1e6, step_tokens=500),
    )  # fmt: skip
    requests = list(generate(workload))
    shrunk = [(a, b) for a, b in pairwise(requests) if b.tokens_in < a.tokens_in]
    assert len(shrunk) > 10
    for before, after in shrunk:
        assert after.tokens_in == 1140
        assert after.keys[:10] == before.keys[:10]
        assert not set(after.keys[10:]) & set(before.keys)


def test_the_rate_of_arrivals():
    workload = Workload(requests=4000, agent_share=0, sessions_per_s=10, chat=Chat(turns=1))
    assert measure(generate(workload)).span_s == pytest.approx(400, rel=0.1)


def test_open_sessions_have_a_limit():
    workload = Workload(requests=500, sessions_per_s=1000, sessions_max=2, agent_share=1, agent=Agent(turns=1e6))
    assert sum(r.new_blocks > 200 for r in generate(workload)) <= 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": -1},
        {"block_tokens": 0},
        {"sessions_per_s": 0.0},
        {"sessions_per_s": inf},
        {"sessions_per_s": nan},
        {"sessions_max": 0},
        {"agent_share": 1.5},
        {"system_prompts": 0},
        {"system_tokens": -1},
        {"context_tokens_max": 1 << 30},
        {"chat": Chat(turns=0.5)},
        {"agent": Agent(pause_s=-1)},
        {"agent": Agent(opening_tokens=nan)},
    ],
)
def test_a_figure_out_of_range_is_named(wrong):
    with pytest.raises(InvalidCommand, match=r"makes no workload: it must be from") as caught:
        Workload(**wrong)
    assert next(iter(wrong)) in caught.value.what


def test_a_context_must_hold_a_system_prompt_and_a_summary():
    with pytest.raises(InvalidCommand, match="a system prompt and a summary have 300 tokens"):
        Workload(system_tokens=100, summary_tokens=200, context_tokens_max=299)
