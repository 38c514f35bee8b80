"""The figures that the public traces are known for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kvbm_nats.traces import load_trace, measure


@pytest.mark.parametrize(
    ("name", "requests", "accesses", "unique", "hit"),
    [("conversation", 12_031, 288_500, 182_790, 0.366), ("synthetic", 3_993, 121_877, 43_924, 0.640)],
)
def test_mooncake(real_traces, name, requests, accesses, unique, hit):
    stats = measure(load_trace(real_traces / f"mooncake_{name}.jsonl.gz"))
    assert (stats.requests, stats.block_accesses, stats.unique_blocks) == (requests, accesses, unique)
    assert round(stats.infinite_hit_ratio, 3) == hit
    assert stats.block_tokens == 512


def test_coding_agents(real_traces):
    stats = measure(load_trace(real_traces / "claude_code"))
    assert (stats.requests, stats.block_accesses, stats.unique_blocks) == (2_309, 4_367_031, 148_349)
    assert round(stats.infinite_hit_ratio, 3) == 0.966
    assert stats.block_tokens == 64


def test_a_directory_is_played_in_the_order_of_time_and_misses_no_session(real_traces):
    requests = list(load_trace(real_traces / "claude_code", stagger_s=60))
    times = [request.at_s for request in requests]
    assert times == sorted(times)
    sessions = [request.request.rpartition("-")[0] for request in requests]
    assert len(set(sessions)) == len(list((real_traces / "claude_code").iterdir()))
    assert sum(before != after for before, after in pairwise(sessions)) > 100
    assert len({request.request for request in requests}) == len(requests)


def test_only_the_last_block_of_a_mooncake_prompt_may_be_partial(real_traces):
    for request in load_trace(real_traces / "mooncake_synthetic.jsonl.gz"):
        assert len(request.keys) - request.full_blocks == (1 if request.tokens_in % 512 else 0)
