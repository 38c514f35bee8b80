"""kill -9 of a real owner, and of nats-server, at every step of a transfer down and up, with a real worker.

Whatever dies when: nothing wrong can be matched, nothing leaks, the next transfer works, and the reason stands in an event.
"""

import asyncio

import pytest

from kvbm_events.schema import TransferCompleted, TransferFailed, TransferStarted
from support.chained_keys import prefix
from support.owners import verdict_of
from support.scripts import ScriptProcess
from support.steps import OWNER_STEPS, WORKER_STEPS, watch
from support.workers import FileMover, WorkerProcess, found_below, settle, wrong_blocks

ROUNDS = 2
KINDS = ["offload", "onboard"]
LEFT = "the owner was restarted"
PATIENT_S = 60.0
"""After which a worker counts as dead: none is here, however slow the machine."""


@pytest.fixture
def memory(tmp_path):
    """The tiers, as this process sees them."""
    return FileMover(tmp_path)


def check_next(site, owner, memory):
    """The next transfers down and up work, and all is in order."""
    keys, _ = site.offload(owner, memory=memory)
    assert owner.settle()
    owner.evict(keys, tier="g1")
    owner.match("next", keys)
    assert owner.wait([owner.onboard("next", keys)])
    assert len(owner.resident(keys)) == len(keys)
    owner.release("next")
    settle(owner)
    assert wrong_blocks(owner, memory) == []


def check_told(site, owner, epoch):
    """Each transfer that the killed owner's epoch began has arrived, or its failure says why; never both, never neither."""
    owner.flush()
    events = site.events()
    began = [e.transfer for e in events if isinstance(e, TransferStarted) and e.epoch == epoch]
    over = {e.transfer for e in events if isinstance(e, TransferCompleted)}
    lost = {e.transfer: e for e in events if isinstance(e, TransferFailed)}
    assert {transfer for transfer in began if transfer not in over} == lost.keys() & set(began)
    assert not over & lost.keys()
    assert {event.reason for event in lost.values()} <= {LEFT}
    return [transfer in over for transfer in began]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [*OWNER_STEPS, *WORKER_STEPS, "over"])
def test_an_owner_is_killed_at_every_step(site, tmp_path, memory, kind, step):
    pause, word = WORKER_STEPS.get(step, ("", ""))
    site._requests = ROUNDS  # prompts that the killed owners have
    with WorkerProcess(site.url, site.instance, tmp_path, steps=pause) as worker:
        for number in range(1, ROUNDS + 1):
            arguments = site.url, site.instance, str(tmp_path), str(number), kind, step
            with ScriptProcess("dying_owner.py", *arguments) as owner_process:
                if pause:
                    if kind == "onboard":  # the way down is not what is waited for
                        worker.hear(word)
                        worker.go_on()
                    owner_process.hear("waits")
                    worker.hear(word)
                    owner_process.kill()
                owner_process.killed()
            with site.open(dead_after_s=PATIENT_S) as owner:
                assert wrong_blocks(owner, memory) == []
                assert owner.check_integrity() == []
                if pause:
                    check_in_doubt(owner, kind)
                    worker.go_on()
                settle(owner)
                assert wrong_blocks(owner, memory) == []
                check_arrived(owner, prefix([number] * 4), kind, check_told(site, owner, 2 * number - 1), step)
                if not pause:
                    check_next(site, owner, memory)
    assert asyncio.run(verdict_of(site.url, site.instance)).flaws == []


def check_in_doubt(owner, kind):
    """While nobody knows whether the worker writes, nobody gets its slots."""
    name = "g2" if kind == "offload" else "g1"
    (tier,) = [tier for tier in owner.status().tiers if tier.tier == name]
    assert tier.quarantined == 4
    assert not owner.settle(timeout_s=0.2)


def check_arrived(owner, keys, kind, arrived, step):
    """What the log says arrived is there, and nothing else. Of the first step it cannot know, and of the last it must."""
    downs, ups = (arrived, []) if kind == "offload" else (arrived[:1], arrived[1:])
    last = downs if kind == "offload" else ups
    assert found_below(owner, keys) == (4 if downs == [True] else 0)
    above = len(owner.resident(keys))
    if kind == "onboard":
        assert above == (4 if ups == [True] else 0)
    elif step in {"decided", "sent"}:  # that the blocks were registered may not have been stored either
        assert above in {0, 4}
    else:
        assert above == 4
    if step == "decided":
        assert last == []
    elif step == "over":
        assert last == [True]
    elif step not in {"sent", "arrival sent"}:
        assert last == [False]


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_is_killed_at_every_step(own_site, nats_server, tmp_path, memory, kind):
    site, killed = own_site, []
    with site.open(dead_after_s=PATIENT_S) as owner, WorkerProcess(site.url, site.instance, tmp_path) as worker:
        worker.hear("ready")
        wanted = []

        def reached(step):
            if step in wanted:
                wanted.remove(step)
                killed.append(step)
                nats_server.kill()

        watch(owner, site.mover, reached)
        for step in OWNER_STEPS:
            if kind == "offload":
                wanted.append(step)
            keys, _ = site.offload(owner, memory=memory)
            if kind == "onboard":
                assert owner.settle()
                owner.evict(keys, tier="g1")
                owner.match("up", keys)
                wanted.append(step)
                owner.onboard("up", keys)
            while wanted:
                owner.settle(timeout_s=0.05)
            nats_server.start()
            assert owner.settle()
            assert len(owner.resident(keys, "g2" if kind == "offload" else "g1")) == 4
            assert wrong_blocks(owner, memory) == []
            if kind == "onboard":
                owner.release("up")
        settle(owner)
        assert killed == list(OWNER_STEPS)
        assert site.failures(owner) == []
        moved = [line for line in worker.heard if line.startswith("submitted")]
        assert len(moved) == len(set(moved)), "a transfer was done twice"
        check_next(site, owner, memory)
