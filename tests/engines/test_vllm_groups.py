"""A model of several KV-cache groups, two of which have a window, says the same with the connector as without it."""

import os
import subprocess

import pytest

from support.engines import BLOCK_TOKENS, PROCESSES, PYTHON_ENV, Engine, Site, disagreement, prompt, window_model, words

LONG = prompt(1000, 1)
FORK = LONG[:512] + prompt(300, 2)
BLOCKS = len(LONG) // BLOCK_TOKENS
CACHED = BLOCKS * BLOCK_TOKENS
SLOT_BYTES = 32768
OPTIONS = {
    "skip_tokenizer_init": True,
    "disable_hybrid_kv_cache_manager": False,
    "max_num_batched_tokens": 256,
}


@pytest.fixture(scope="module")
def place(site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    model = window_model(folder / "model")
    subprocess.run([os.environ[PYTHON_ENV], str(PROCESSES / "vllm_model.py"), str(model), "window"], check=True)
    with Site(model, site.server, folder, f"{site.instance}-groups") as other:
        yield other


@pytest.fixture(scope="module")
def answers(place):
    """Without a connector, by how much of the prompt vLLM had in its own cache. The same work gives the same numbers."""
    with Engine(place.model, **OPTIONS) as engine:
        cold, warm, fork = (engine.generate([each])[0] for each in (LONG, LONG, FORK))
    assert [each["cached"] for each in (cold, warm)] == [0, CACHED]
    return {0: words(cold), CACHED: words(warm), "fork": fork}


def check(engine, answers, tokens, cached):
    """So much of the prompt was not computed, and the answer is that of an engine that had it in its own cache."""
    (said,) = engine.generate([tokens])
    assert said["cached"] == cached
    assert words(said) == answers[cached]
    engine.empty_device()


@pytest.fixture(scope="module")
def engine(place, answers):
    engine = place.start(**OPTIONS)
    check(engine, answers, LONG, 0)
    return engine


def test_the_manager_of_several_groups_stays_on(engine):
    assert engine.ask("groups")["windows"] == [4, 4, 0]


def test_a_host_hit(engine, answers):
    check(engine, answers, LONG, CACHED)


def test_a_prompt_that_branches_off(engine, answers):
    """Where it does, the windows were kept: a step of 256 tokens ended there. VLLM alone computes all of it, in other pieces."""
    (said,) = engine.generate([FORK])
    assert said["cached"] == 512
    assert not disagreement(said, answers["fork"])
    engine.empty_device()


def test_a_damaged_block_is_found_out_and_computed_again(engine, answers, place):
    slots = engine.ask("slots", tokens=LONG, tier="g2", group=2, last=BLOCKS)["slots"]
    place.damage("g2", [slots[20]], SLOT_BYTES)
    check(engine, answers, LONG, 0)
    assert engine.ask("status")["events"]["OnboardFailed"] >= 1
    check(engine, answers, LONG, CACHED)


def test_a_damaged_block_of_a_window_is_found_out(engine, answers, place):
    slots = engine.ask("slots", tokens=LONG, tier="g2", group=1, last=4)["slots"]
    failed = engine.ask("status")["events"]["OnboardFailed"]
    place.damage("g2", slots[2:3], SLOT_BYTES)
    check(engine, answers, LONG, 0)
    assert engine.ask("status")["events"]["OnboardFailed"] == failed + 1
    check(engine, answers, LONG, CACHED)


@pytest.mark.parametrize("group", [1, 2])
def test_a_wrong_block_that_nobody_compares_is_heard(engine, answers, group):
    """The control: blocks of a window, or of the others, that are damaged behind the checksum change what is said."""
    engine.generate([LONG])
    for block in range(3):
        engine.ask("damage_device", tokens=LONG, block=block, group=group, last=4)
    assert words(engine.generate([LONG])[0]) != answers[CACHED]
    assert engine.ask("reset", external=True)["ok"]
    check(engine, answers, LONG, 0)


def test_nothing_is_left_behind_and_the_log_agrees(engine, place):
    status = engine.ask("status")
    assert (status["integrity"], status["requests"], status["transfers"], status["pinned"]) == ([], 0, 0, 0)
    verdict = place.verify(status)
    assert verdict.is_equal, verdict


def test_a_disk_hit_after_a_restart(engine, answers, place):  # noqa: ARG001 - that engine is the one that ends here
    place.quit()
    place.lose("g2")
    again = place.start(**OPTIONS)
    check(again, answers, LONG, CACHED)
    place.quit()
