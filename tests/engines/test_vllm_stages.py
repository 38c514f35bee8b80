"""Two stages of a pipeline: each keeps its layers of every block, and a step begins in one before the last is over in the other."""

import pytest

from support.engines import BLOCK_TOKENS, disagreement, prompt

STAGES = {
    "pipeline_parallel_size": 2,
    "distributed_executor_backend": "mp",
    "enforce_eager": False,
    "compilation_config": {"mode": "DYNAMO_TRACE_ONCE", "backend": "eager"},
    "max_num_batched_tokens": 128,
}
"""VLLM has no buffers between its stages on a CPU until it has warmed up, which it does not where nothing is compiled."""
PATIENT = {"patience_s": 60.0}
"""As stages that wait for each other by spinning may be slow."""
LAYERS = "3,1"
SLOT_BYTES = (49152, 16384)
LONG = prompt(700, 21)
BLOCKS = len(LONG) // BLOCK_TOKENS
CACHED = BLOCKS * BLOCK_TOKENS


@pytest.fixture(scope="module")
def answers(alone):
    """Of one stage, without a connector."""
    return alone(LONG)


@pytest.fixture(autouse=True)
def _divided(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("VLLM_PP_LAYER_PARTITION", LAYERS)


def check(engine, answers, cached):
    """The long prompt is answered as by an engine without a connector; so much of it was not computed."""
    (said,) = engine.generate([LONG])
    assert not disagreement(said, answers[0])
    assert said["cached"] == cached


def test_two_stages_keep_their_layers_over_a_restart(site, answers):
    engine = site.start(extra=dict(PATIENT), **STAGES)
    check(engine, answers, 0)
    engine.empty_device()
    check(engine, answers, CACHED)
    engine.empty_device()
    site.quit()
    for rank in (0, 1):
        assert site.tier_file("g3", rank).stat().st_size >= 512 * SLOT_BYTES[rank]
        site.lose("g2", rank)
    again = site.start(extra=dict(PATIENT), **STAGES)
    check(again, answers, CACHED)
    again.empty_device()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_slice_that_is_damaged_in_one_stage_only_is_found_out(site, answers, rank):
    engine = site.engine
    slots = engine.ask("slots", tokens=LONG, tier="g2")["slots"]
    before = engine.ask("status")
    site.damage("g2", [slots[2]], SLOT_BYTES[rank], rank=rank)
    (said,) = engine.generate([LONG])
    assert not disagreement(said, answers[0])
    engine.empty_device()
    status = engine.ask("status")
    assert status["events"]["OnboardFailed"] == before["events"].get("OnboardFailed", 0) + 1
    assert status["evicted"]["g2"] >= before["evicted"].get("g2", 0) + BLOCKS - 2
    assert (status["integrity"], status["requests"], status["transfers"]) == ([], 0, 0)
    check(engine, answers, CACHED)
    engine.empty_device()
