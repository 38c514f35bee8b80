"""What dies while an engine serves: the engine itself, in the middle of copies, or the NATS server under it."""

import os
import signal
import time

import pytest

from support.engines import BLOCK_TOKENS, prompt, words
from support.nats import frozen

PROMPTS = [prompt(900 + 32 * at, 50 + at) for at in range(8)]
MANY = [prompt(600, 70 + at) for at in range(24)]
OUTAGE_S = 10.0


@pytest.fixture(scope="module")
def answers(alone):
    return [words(each) for each in alone(*PROMPTS)]


def one_by_one(engine, prompts=PROMPTS):
    return [words(engine.generate([each])[0]) for each in prompts]


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


def kill_when(site, engine, event):
    """Kill the engine with SIGKILL as soon as the log has another such event."""
    subject = f"kvbm.v1.{site.instance}.*.{event}"
    site.wait_for_event(subject)
    os.kill(engine.pid, signal.SIGKILL)
    site.kill()


@pytest.mark.parametrize("event", ["offload.started", "onboard.started"])
def test_an_engine_is_killed_in_the_middle_of_copies(site, answers, event):
    engine = site.start()
    one_by_one(engine)
    engine.empty_device()
    engine.send("generate", prompts=[*PROMPTS, *MANY], max_tokens=2)
    kill_when(site, engine, event)
    again = site.start()
    assert one_by_one(again) == answers
    status = settled(again, site)
    assert status["epoch"] > 1
    site.quit()


def test_a_server_that_is_killed_and_comes_back(site, answers):
    engine = site.start()
    one_by_one(engine)
    engine.empty_device()
    engine.send("generate", prompts=[*PROMPTS, *MANY], max_tokens=4)
    site.wait_for_event(f"kvbm.v1.{site.instance}.*.onboard.started")
    site.server.kill()
    engine.receive()
    engine.empty_device_when_it_can()
    site.server.restart()
    assert one_by_one(engine) == answers
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
            assert one_by_one(engine, PROMPTS[:2]) == answers[:2]
            assert one_by_one(engine, [prompt(500, int(end - time.monotonic()))])
    assert one_by_one(engine) == answers
    engine.empty_device()
    (found,) = engine.generate(PROMPTS[:1])
    assert found["cached"] == len(PROMPTS[0]) // BLOCK_TOKENS * BLOCK_TOKENS or found["cached"] >= len(PROMPTS[0]) - BLOCK_TOKENS
    settled(engine, site)
    site.quit()
