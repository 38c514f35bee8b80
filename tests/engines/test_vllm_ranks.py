"""Two ranks of one engine: each keeps its slice of every block, and a block is there when both have it."""

from support.engines import BLOCK_TOKENS, disagreement, prompt

SLOT_BYTES = 32768
LONG = prompt(700, 21)
BLOCKS = (len(LONG) - 1) // BLOCK_TOKENS


def test_two_ranks_keep_their_slices_over_a_restart(site, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    engine = site.start(tensor_parallel_size=2)
    (cold,) = engine.generate([LONG])
    assert cold["cached"] == 0
    engine.empty_device()
    (warm,) = engine.generate([LONG])
    assert warm["cached"] == BLOCKS * BLOCK_TOKENS
    assert not disagreement(warm, cold)
    engine.empty_device()
    site.quit()
    folders = sorted(each.name for each in (site.folder / "g3").iterdir())
    assert folders == [f"{site.instance}.0", f"{site.instance}.1"]
    again = site.start(tensor_parallel_size=2)
    (found,) = again.generate([LONG])
    assert found["cached"] == BLOCKS * BLOCK_TOKENS
    assert not disagreement(found, cold)
    again.empty_device()
    slots = again.ask("slots", tokens=LONG, tier="g2")["slots"]
    site.damage("g2", [slots[2]], SLOT_BYTES, rank=1)
    (mended,) = again.generate([LONG])
    assert not disagreement(mended, cold)
    status = again.ask("status")
    assert status["events"]["OnboardFailed"] >= 1
    assert status["evicted"]["g2"] >= BLOCKS - 2
    assert (status["integrity"], status["requests"]) == ([], 0)
    site.quit()
