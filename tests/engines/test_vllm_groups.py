"""A model of several KV-cache groups, two of which have a window, says the same with the connector as without it."""

import os
import subprocess

import pytest

from kvbm_events.schema import Matched, Noted, OffloadStarted, total
from support.engines import BLOCK_TOKENS, PROCESSES, PYTHON_ENV, Engine, Site, disagreement, prompt, window_model, words
from support.object_servers import FakeS3

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


def test_a_prompt_that_branches_off_within_a_step_says_which_windows_were_missing(engine, place):
    """Blocks 16 to 23 end a step; the prompt parts from the first one at block 20, whose windows nobody has kept."""
    (said,) = engine.generate([LONG[:640] + prompt(100, 3)])
    assert said["cached"] == 512
    engine.empty_device()
    *_, whole, first, second = place.events(Matched)
    assert [sum(part.blocks for part in event.found) for event in (whole, first, second)] == [20, 0, 0]
    assert [(event.start, event.asked, event.held) for event in (first, second)] == [(16, 4, False)] * 2


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


def test_a_window_is_one_transfer(place):
    """Of three groups, whatever steps there were."""
    started = [event for event in place.events(OffloadStarted) if event.tier == "g2"]
    assert max(total(event.slots) for event in started) == 8
    assert {total(event.slots) for event in started} >= {4, 8}


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


def test_another_engines_objects_have_its_windows_too(place, answers, tmp_path, object_credentials):  # noqa: ARG001 - the environment is to have them
    with FakeS3(tmp_path / "s3") as store:
        a, b = (Site(place.model, place.server, tmp_path / name, f"{place.instance}-{name}") for name in "ab")
        with a, b:
            engine = a.start(tiers="g2=256,g4=512", extra={"objects": store.url("kv")}, **OPTIONS)
            check(engine, answers, LONG, 0)
            stored = engine.ask("status")["registered"]["g4"]
            a.quit()
            engine = b.start(
                tiers="g2=256,g4=512", extra={"objects": store.url("kv"), "peers": [a.instance]}, **OPTIONS
            )
            assert engine.ask("follow", peer=a.instance, blocks=stored)["blocks"] == stored
            check(engine, answers, LONG, CACHED)
            noted = b.events(Noted)
            assert sorted(total(event.slots) for event in noted) == [4, 4, BLOCKS]
            assert b.verify(engine.ask("status")).is_equal
