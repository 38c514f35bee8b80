"""A vLLM engine says the same with the connector as without it, wherever its blocks come from."""

import pytest

from support.engines import BLOCK_TOKENS, disagreement, prompt, words

SLOT_BYTES = 65536
LONG = prompt(1000, 1)
FORK = LONG[:512] + prompt(300, 2)
BLOCKS = len(LONG) // BLOCK_TOKENS
BRANCH = len(FORK) // BLOCK_TOKENS - 512 // BLOCK_TOKENS
CACHED = BLOCKS * BLOCK_TOKENS


@pytest.fixture(scope="module")
def answers(alone):
    """Without a connector, each computed whole."""
    return dict(zip(("long", "fork"), map(words, alone(LONG, FORK)), strict=True))


@pytest.fixture(scope="module")
def engine(answers, site):
    """An engine whose tiers have the long prompt."""
    engine = site.start()
    assert words(engine.generate([LONG])[0]) == answers["long"]
    engine.empty_device()
    return engine


def say(engine, tokens, **more):
    """One answer: its words, and how much of the prompt was not computed."""
    (answer,) = engine.generate([tokens], **more)
    return words(answer), answer["cached"]


def test_a_host_hit(engine, answers):
    assert say(engine, LONG) == (answers["long"], CACHED)
    engine.empty_device()


def test_a_prompt_of_full_blocks_is_loaded_to_its_end(engine, alone, site):
    """VLLM computes its last token; where its last block is damaged, that block."""
    whole = LONG[:CACHED]
    expected = words(alone(whole)[0])
    assert say(engine, whole) == (expected, CACHED)
    engine.empty_device()
    (slot,) = engine.ask("slots", tokens=whole, tier="g2")["slots"][BLOCKS - 1 :]
    site.damage("g2", [slot], SLOT_BYTES)
    failed = engine.ask("status")["events"].get("OnboardFailed", 0)
    assert say(engine, whole)[0] == expected
    assert engine.ask("status")["events"]["OnboardFailed"] == failed + 1
    engine.empty_device()
    assert say(engine, whole) == (expected, CACHED)
    engine.empty_device()


def test_a_local_hit_and_a_host_hit_behind_it(engine, answers):
    say(engine, LONG[:300])
    assert say(engine, LONG) == (answers["long"], CACHED)
    engine.empty_device()


def test_a_prompt_that_branches_off(engine, answers):
    assert say(engine, FORK) == (answers["fork"], 512)
    engine.empty_device()


def test_the_same_prompt_twice_at_once_is_loaded_once(engine, answers):
    before = engine.ask("status")["events"].get("OnboardStarted", 0)
    said = engine.generate([LONG, LONG])
    assert [(words(each), each["cached"]) for each in said] == [(answers["long"], CACHED)] * 2
    assert engine.ask("status")["events"]["OnboardStarted"] == before + 1
    engine.empty_device()


def test_another_salt_finds_nothing(engine, answers):
    assert say(engine, LONG, salt="another tenant") == (answers["long"], 0)
    engine.empty_device()
    assert say(engine, LONG, salt="another tenant") == (answers["long"], CACHED)
    engine.empty_device()


def test_a_damaged_block_is_found_out_and_computed_again(engine, answers, site):
    """Blocks 3 and 20 lie damaged on the host; those before the first are used, and all that stands on it goes."""
    slots = engine.ask("slots", tokens=LONG, tier="g2")["slots"]
    site.damage("g2", [slots[3], slots[20]], SLOT_BYTES)
    evicted = engine.ask("status")["evicted"].get("g2", 0)
    assert say(engine, LONG)[0] == answers["long"]
    status = engine.ask("status")
    assert status["events"]["OnboardFailed"] >= 1
    assert status["evicted"]["g2"] - evicted == BLOCKS - 3 + BRANCH
    engine.empty_device()
    assert say(engine, LONG) == (answers["long"], CACHED)
    engine.empty_device()


def test_a_wrong_block_that_nobody_compares_is_heard(engine, answers, alone):
    """The control: a block that is damaged behind the checksum, in vLLM's own memory, changes what is said."""
    say(engine, LONG)
    engine.ask("damage_device", tokens=LONG, block=3)
    assert disagreement(engine.generate([LONG])[0], alone(LONG, FORK)[0])
    assert engine.ask("reset", external=True)["ok"]
    assert say(engine, LONG) == (answers["long"], 0)
    engine.empty_device()


def test_a_reset_forgets_all_tiers(engine, answers):
    assert engine.ask("reset", external=True)["ok"]
    assert engine.ask("status")["registered"] == {"g1": 0, "g2": 0, "g3": 0}
    assert say(engine, LONG) == (answers["long"], 0)
    engine.empty_device()


def test_vllm_counts_what_we_found(engine):
    metrics = engine.ask("metrics")
    found = {name.split("[")[0]: value for name, value in metrics.items() if "external_prefix" in name}
    assert found["vllm:external_prefix_cache_hits"] > CACHED
    moved = [
        value for name, value in metrics.items() if "kvbm_moved_blocks" in name and "'g2'), ('tier', 'g1')" in name
    ]
    assert moved
    assert moved[0] > BLOCKS


def test_nothing_is_left_behind_and_the_log_agrees(engine, site):
    status = engine.ask("status")
    assert (status["integrity"], status["requests"], status["transfers"], status["pinned"]) == ([], 0, 0, 0)
    verdict = site.verify(status)
    assert verdict.is_equal, verdict


def test_a_disk_hit_after_a_restart(engine, answers, site):  # noqa: ARG001 - that engine is the one that ends here
    site.quit()
    site.lose("g2")
    again = site.start()
    assert say(again, LONG) == (answers["long"], CACHED)
    assert again.ask("status")["events"]["OnboardStarted"] == 1
    sources = {name: value for name, value in again.ask("metrics").items() if "cached_by_source" in name and value}
    assert [value for name, value in sources.items() if "disk" in name] == [CACHED]
    again.empty_device()
    slots = again.ask("slots", tokens=LONG, tier="g3")["slots"]
    assert len(slots) == BLOCKS


def test_a_host_hit_after_a_restart(answers, site):
    site.quit()
    again = site.start()
    assert say(again, LONG) == (answers["long"], CACHED)
    assert again.ask("status")["integrity"] == []
    site.quit()
