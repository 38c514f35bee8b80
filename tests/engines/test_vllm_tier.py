"""VLLM's own offload with our tier below it: the same tokens wherever blocks come from, and a log that stays true."""

import time

import pytest

from support.engines import BLOCK_TOKENS, SLOT_BYTES, EngineDied, Site, disagreement, prompt, window_model
from support.nats import frozen

LONG = prompt(1000, 1)
OTHERS = [prompt(900, 10 + at) for at in range(4)]
BLOCKS = len(LONG) // BLOCK_TOKENS
CACHED = BLOCKS * BLOCK_TOKENS
OUTAGE_S = 5.0


@pytest.fixture(scope="module")
def answers(alone):
    return alone(LONG, *OTHERS)


def forget_host(engine):
    """Let all copies end, then empty vLLM's KV cache and its host memory, so that only our tier is left."""
    assert engine.ask("drain")["is_drained"]
    assert engine.ask("reset", external=True)["ok"]


def check(engine, answers, cached=CACHED):
    """The long prompt is answered as without any offload; so much of it was not computed."""
    (said,) = engine.generate([LONG])
    assert not disagreement(said, answers[0])
    assert said["cached"] == cached


def settled(engine, site):
    """It has come to rest, and the log says the same as it."""
    assert engine.ask("drain")["is_drained"]
    status = engine.ask("status")
    assert status["is_serving"]
    assert (status["integrity"], status["requests"], status["transfers"]) == ([], 0, 0)
    assert (status["pinned"], status["tracked"]) == (0, 0)
    assert set(map(sum, status["slots"].values())) == {0}
    verdict = site.verify(status)
    assert verdict.is_equal, verdict
    return status


@pytest.fixture(scope="module")
def engine(answers, site):
    engine = site.start_below()
    check(engine, answers, cached=0)
    forget_host(engine)
    return engine


def test_a_disk_hit(engine, answers):
    check(engine, answers)
    assert engine.ask("status")["events"]["OnboardStarted"] >= 1


def test_a_host_hit_asks_nothing_of_us(engine, answers):
    assert engine.ask("drain")["is_drained"]
    before = engine.ask("status")["events"]
    assert engine.ask("reset")["ok"]
    check(engine, answers)
    assert engine.ask("status")["events"] == before


def test_another_salt_finds_nothing(engine, answers):
    forget_host(engine)
    (said,) = engine.generate([LONG], salt="another tenant")
    assert not disagreement(said, answers[0])
    assert said["cached"] == 0


def test_a_reset_empties_vllms_host_memory_and_keeps_ours(engine, answers):
    forget_host(engine)
    assert engine.ask("status")["registered"]["g2"] == 0
    assert engine.ask("status")["registered"]["g3"] >= BLOCKS
    check(engine, answers)


def test_a_damaged_block_is_found_out_and_computed_again(engine, answers, site):
    forget_host(engine)
    slots = engine.ask("slots", tokens=LONG, tier="g3")["slots"]
    site.damage("g3", [slots[3], slots[20]], SLOT_BYTES)
    evicted = engine.ask("status")["evicted"].get("g3", 0)
    check(engine, answers, cached=3 * BLOCK_TOKENS)
    assert engine.ask("status")["evicted"]["g3"] - evicted == BLOCKS - 3
    failures = [value for name, value in engine.ask("metrics").items() if "promotion_job_failures" in name]
    assert failures == [1.0]


def test_vllm_counts_what_we_moved(engine):
    metrics = engine.ask("metrics")
    moved = {name: value for name, value in metrics.items() if "kvbm_moved_blocks" in name}
    up = [value for name, value in moved.items() if "'g3')" in name and "'g2')" in name and value]
    assert len(up) == 2  # both ways
    disk = [value for name, value in metrics.items() if "cached_by_source" in name and "disk" in name]
    assert disk[0] >= CACHED


def test_nothing_is_left_behind_and_the_log_agrees(engine, site):
    settled(engine, site)


def test_a_disk_hit_after_a_restart(engine, answers, site, capfd):
    forget_host(engine)
    engine.generate([LONG])  # what went with the damaged block goes down again
    assert engine.ask("drain")["is_drained"]
    site.quit()
    assert "Failed to close" not in capfd.readouterr().err, "nobody may have a view of vLLM's memory still"
    again = site.start_below()
    assert again.ask("status")["registered"]["g2"] == 0
    check(again, answers)
    settled(again, site)
    site.quit()


@pytest.mark.parametrize("event", ["offload.started", "onboard.started"])
def test_an_engine_is_killed_in_the_middle_of_copies(site, answers, event):
    engine = site.start_below()
    check(engine, answers)
    forget_host(engine)
    prompts = [*OTHERS, LONG, *(prompt(600, 70 + at) for at in range(8))]
    site.when(event, lambda: engine.send("generate", prompts=prompts, max_tokens=4))
    site.kill()
    again = site.start_below()
    check(again, answers)
    assert settled(again, site)["epoch"] > 1
    site.quit()


def test_a_server_that_is_silent_for_a_while(site, answers):
    """The engine answers meanwhile, and finds its blocks again afterwards."""
    engine = site.start_below()
    check(engine, answers)
    forget_host(engine)
    with frozen(site.server):
        end = time.monotonic() + OUTAGE_S
        while time.monotonic() < end:
            (said,) = engine.generate([LONG])
            assert not disagreement(said, answers[0])
            engine.generate([prompt(500, int(end - time.monotonic()))])
            assert engine.ask("reset", external=True)["ok"]
    forget_host(engine)
    check(engine, answers)
    settled(engine, site)
    site.quit()


def test_a_server_that_is_killed_and_comes_back(site, answers):
    engine = site.start_below()
    check(engine, answers)
    forget_host(engine)
    prompts = [*OTHERS, LONG, *(prompt(600, 90 + at) for at in range(8))]
    site.when("onboard.started", lambda: engine.send("generate", prompts=prompts, max_tokens=4))
    site.server.kill()
    engine.receive()
    site.server.restart()
    forget_host(engine)
    check(engine, answers)
    settled(engine, site)
    site.quit()


def test_host_memory_that_is_too_small_is_reused_and_the_log_follows(site, answers):
    """Chunks of two blocks, in room for one prompt: every prompt takes the chunks of the one before."""
    site.instance += "-small"
    engine = site.start_below(chunks=20, blocks_per_chunk=2)
    for _ in range(2):
        said = [engine.generate([each])[0] for each in (LONG, *OTHERS)]
        assert not [flaw for pair in zip(said, answers, strict=True) if (flaw := disagreement(*pair))]
        assert engine.ask("drain")["is_drained"]
        assert engine.ask("reset")["ok"]
    assert said[0]["cached"] == len(LONG) // 64 * 64
    status = settled(engine, site)
    assert status["evicted"]["g2"] >= 4 * 14
    site.quit()


def test_a_model_of_several_kv_cache_groups_finds_its_blocks_after_a_restart(site, tmp_path):
    """Layers with a window keep their last chunks only, under keys of their own."""
    options = {"load_format": "dummy", "skip_tokenizer_init": True, "disable_hybrid_kv_cache_manager": False}
    with Site(window_model(tmp_path / "model"), site.server, tmp_path, f"{site.instance}-window") as other:
        engine = other.start_below(options=options)
        (cold,) = engine.generate([LONG])
        stored = settled(engine, other)["registered"]["g3"]
        assert stored > BLOCKS
        other.quit()
        engine = other.start_below(options=options)
        (said,) = engine.generate([LONG])
        assert (said["tokens"], said["cached"]) == (cold["tokens"], CACHED)
        assert settled(engine, other)["registered"]["g3"] == stored
        other.quit()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"instanse": "x"}, "no field 'instanse'"), ({"tiers": "g2=10,g3=10"}, "g2 is vLLM's own primary tier")],
)
def test_what_is_wrong_ends_the_start_with_its_name(site, capfd, wrong, said):
    with pytest.raises(EngineDied):
        site.start_below(**wrong)
    assert said in capfd.readouterr().err
