"""What dies while an engine serves: the engine itself, in the middle of copies, or the NATS server under it."""

import time

import pytest

from support.engines import BLOCK_TOKENS, disagreement, prompt
from support.nats import frozen

PROMPTS = [prompt(900 + 32 * at, 50 + at) for at in range(8)]
MANY = [prompt(600, 70 + at) for at in range(24)]
OUTAGE_S = 10.0


@pytest.fixture(scope="module")
def answers(alone):
    return alone(*PROMPTS)


def one_by_one(engine, prompts=PROMPTS):
    return [engine.generate([each])[0] for each in prompts]


def flaws(engine, answers):
    """What the engine says now that is not as it must be."""
    said = one_by_one(engine, PROMPTS[: len(answers)])
    return list(filter(None, map(disagreement, said, answers)))


def settled(engine, site):
    """The engine has come to rest, and its log says the same as it."""
    assert engine.ask("drain")["is_drained"]
    status = engine.ask("status")
    assert status["is_serving"]
    assert (status["integrity"], status["requests"], status["pinned"]) == ([], 0, 0)
    assert status["slots"]["g1"] == [0, 0, 0]
    verdict = site.verify(status)
    assert verdict.is_equal, verdict
    return status


def crowded(engine):
    """Give the engine more to do than it has computed before, some of which it can load."""
    engine.send("generate", prompts=[*PROMPTS, *MANY], max_tokens=4)


@pytest.mark.parametrize("event", ["offload.started", "onboard.started"])
def test_an_engine_is_killed_in_the_middle_of_copies(site, answers, event):
    engine = site.start()
    one_by_one(engine)
    engine.empty_device()
    site.when(event, lambda: crowded(engine))
    site.kill()
    again = site.start()
    assert not flaws(again, answers)
    status = settled(again, site)
    assert status["epoch"] > 1
    site.quit()


def test_a_server_that_is_killed_and_comes_back(site, answers):
    engine = site.start()
    one_by_one(engine)
    engine.empty_device()
    site.when("onboard.started", lambda: crowded(engine))
    site.server.kill()
    engine.receive()
    site.server.restart()
    assert not flaws(engine, answers)
    settled(engine, site)
    site.quit()


def test_a_server_that_is_silent_for_a_while(site, answers):
    """The engine answers meanwhile, in no more time than it takes to compute all; afterwards blocks are found again."""
    engine = site.start()
    one_by_one(engine)
    engine.empty_device()
    with frozen(site.server):
        end = time.monotonic() + OUTAGE_S
        while time.monotonic() < end:
            assert not flaws(engine, answers[:2])
            assert one_by_one(engine, [prompt(500, int(end - time.monotonic()))])
    assert not flaws(engine, answers)
    engine.empty_device()
    (found,) = engine.generate(PROMPTS[:1])
    assert found["cached"] == len(PROMPTS[0]) // BLOCK_TOKENS * BLOCK_TOKENS
    settled(engine, site)
    site.quit()
