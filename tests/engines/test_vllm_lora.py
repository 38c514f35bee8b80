"""LoRA adapters: each has blocks of its own, wherever they lie, and they are those of its weights."""

import os
import shutil
import subprocess

import pytest

from support.engines import BLOCK_TOKENS, PROCESSES, PYTHON_ENV, Engine, prompt, words

LORA = {"enable_lora": True, "max_loras": 2, "max_lora_rank": 8}
LONG = prompt(500, 31)
CACHED = len(LONG) // BLOCK_TOKENS * BLOCK_TOKENS


def write(folder, seed):
    """What a training run does: an adapter with these weights, whatever was there before."""
    subprocess.run([os.environ[PYTHON_ENV], str(PROCESSES / "vllm_adapter.py"), str(folder), str(seed)], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three adapters; the third is what becomes of `a` one day."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("a", "b", "later"), start=1):
        write(folder / name, seed)
    return folder


@pytest.fixture(scope="module")
def answers(model, folder):
    """Of an engine without a connector: what the base says, and each adapter."""
    with Engine(model, **LORA) as engine:
        said = {
            name: engine.generate([LONG], adapter=[name, at, str(folder / name)])[0]
            for at, name in enumerate(("a", "b", "later"), start=1)
        } | {"base": engine.generate([LONG])[0]}
    assert len({str(each["tokens"]) for each in said.values()}) == len(said), (
        "adapters that are not heard prove nothing"
    )
    return {name: words(each) for name, each in said.items()}


def say(engine, folder, name, number=0):
    """One answer: its words, and how much of the prompt was not computed."""
    adapter = [name, number, str(folder / name)] if number else None
    (answer,) = engine.generate([LONG], adapter=adapter)
    engine.empty_device()
    return words(answer), answer["cached"]


@pytest.fixture(scope="module")
def engine(site, answers, folder):  # noqa: ARG001 - that engine has ended
    return site.start(**LORA)


def test_none_finds_anothers_blocks_though_tokens_are_equal(engine, answers, folder):
    assert say(engine, folder, "base") == (answers["base"], 0)
    assert say(engine, folder, "a", 1) == (answers["a"], 0)
    assert say(engine, folder, "b", 2) == (answers["b"], 0)


def test_each_finds_its_own_on_the_host(engine, answers, folder):
    assert say(engine, folder, "b", 2) == (answers["b"], CACHED)
    assert say(engine, folder, "a", 1) == (answers["a"], CACHED)
    assert say(engine, folder, "base") == (answers["base"], CACHED)


def test_side_by_side_each_loads_its_own(engine, answers, folder):
    engine.send("generate", prompts=[LONG], adapter=["a", 1, str(folder / "a")])
    engine.send("generate", prompts=[LONG], adapter=["b", 2, str(folder / "b")])
    said = [engine.receive()["outputs"][0] for _ in range(2)]
    assert [words(each) for each in said] == [answers["a"], answers["b"]]


def test_numbers_are_other_ones_after_a_restart(engine, answers, folder, site):  # noqa: ARG001 - it ends here
    """From disk; `b` is loaded first and has the number that `a` had."""
    site.quit()
    site.lose("g2")
    again = site.start(**LORA)
    assert say(again, folder, "b", 1) == (answers["b"], CACHED)
    assert say(again, folder, "a", 2) == (answers["a"], CACHED)
    assert say(again, folder, "base") == (answers["base"], CACHED)


def test_other_weights_under_the_same_name_and_path_find_nothing(answers, folder, site):
    """VLLM's hashes are what they were: without the weights in the keys, the old ones' blocks would be used."""
    site.quit()
    shutil.copytree(folder / "a", folder / "kept")
    shutil.copytree(folder / "later", folder / "a", dirs_exist_ok=True)
    again = site.start(**LORA)
    assert say(again, folder, "a", 1) == (answers["later"], 0)
    assert say(again, folder, "a", 1) == (answers["later"], CACHED)
    assert say(again, folder, "b", 2) == (answers["b"], CACHED)
    site.quit()


def test_weights_that_come_back_find_their_blocks(answers, folder, site):
    shutil.copytree(folder / "kept", folder / "a", dirs_exist_ok=True)
    again = site.start(**LORA)
    assert say(again, folder, "a", 1) == (answers["a"], CACHED)


def test_weights_that_change_under_an_engine_are_neither_kept_nor_looked_for(answers, folder, site):
    """VLLM goes on with those that it has read; nobody could say of which a block is."""
    engine = site.engine
    shutil.copytree(folder / "later", folder / "a", dirs_exist_ok=True)
    before = engine.ask("status")["registered"]
    assert say(engine, folder, "a", 1) == (answers["a"], 0)
    assert say(engine, folder, "a", 1) == (answers["a"], 0)
    assert say(engine, folder, "b", 2) == (answers["b"], CACHED)
    status = engine.ask("status")
    assert status["registered"] == before | {"g1": status["registered"]["g1"]}
    assert (status["integrity"], status["requests"], status["transfers"], status["pinned"]) == ([], 0, 0, 0)
    verdict = site.verify(status)
    assert verdict.is_equal, verdict
    site.quit()
