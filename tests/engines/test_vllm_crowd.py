"""Many requests at once on an engine with little room: preempted, aborted, sharing prefixes. Nothing leaks, nothing hangs."""

import random

from support.engines import BLOCK_TOKENS, disagreement, prompt

REQUESTS = 64
ROOM = 96
"""Blocks of vLLM's own: a few of the requests fit at a time."""
LONGEST = 640


def crowd(seed):
    """Prompts that share beginnings, how much each is to say, and which are aborted after how many tokens."""
    dice = random.Random(seed)
    roots = [prompt(dice.randrange(64, 400), 100 + at) for at in range(6)]
    prompts = [dice.choice(roots) + prompt(dice.randrange(1, LONGEST - 400), 200 + at) for at in range(REQUESTS)]
    limits = [dice.choice([1, 8, 40, 90]) for _ in prompts]
    aborted = {at: dice.choice([0, 1, 5]) for at in dice.sample(range(REQUESTS), 16)}
    return prompts, limits, {at: after for at, after in aborted.items() if after < limits[at]}


def test_a_crowd_leaves_nothing_behind(site):
    prompts, limits, aborted = crowd(1)
    engine = site.start(tiers="g2=200,g3=400", num_gpu_blocks_override=ROOM)
    said = []
    for _ in range(3):
        said.append(engine.ask("crowd", prompts=prompts, max_tokens=limits, abort_at=aborted)["outputs"])
        assert engine.ask("drain")["is_drained"]
    status = engine.ask("status")
    assert all(len(outputs) == REQUESTS - len(aborted) for outputs in said)
    assert status["is_serving"]
    assert status["preemptions"] > 0
    assert status["events"]["OnboardCompleted"] > 0
    assert status["evicted"]["g2"] > 0
    assert (status["integrity"], status["requests"], status["transfers"]) == ([], 0, 0)
    assert (status["pinned"], status["tracked"]) == (0, 0)
    assert status["slots"] == {"g1": [0, 0, 0], "g2": [0, 0, 0], "g3": [0, 0, 0]}
    assert engine.ask("reset")["ok"], "vLLM misses blocks of its own"
    verdict = site.verify(status)
    assert verdict.is_equal, verdict


def test_what_a_crowd_has_left_in_the_tiers_is_right(site, alone):
    """Every prompt of the crowd, on its own, says what an engine without a connector says."""
    prompts, _, _ = crowd(1)
    some = [tokens for tokens in prompts if len(tokens) >= 4 * BLOCK_TOKENS][:12]
    said = site.engine.ask("generate", prompts=some)["outputs"]
    assert sum(each["cached"] for each in said) > 0
    alones = [site.engine.generate([tokens])[0] for tokens in some]
    site.quit()
    assert not [*filter(None, map(disagreement, alones, alone(*some)))]
