"""kill -9 and SIGSTOP of real workers before, in and after each step of a transfer.

Whatever dies: nothing wrong can be matched, nothing leaks, the next transfer works, and the reason stands in an event.
"""

import random
import signal
import time
from contextlib import suppress

import pytest

from kvbm_events.schema.errors import TierFull
from support.owners import verdict_of
from support.workers import (
    DEAD_AFTER_S,
    FileMover,
    WorkerProcess,
    bytes_of,
    found_below,
    pump_until,
    settle,
    wrong_blocks,
)

LONG_S = 600.0


@pytest.fixture
def memory(tmp_path):
    """The tiers, as this process sees them."""
    return FileMover(tmp_path)


def check_next(site, owner, memory):
    """The next transfer works, and all is in order."""
    keys, _ = site.offload(owner, memory=memory)
    assert owner.settle()
    assert found_below(owner, keys) == 4
    settle(owner)
    assert wrong_blocks(owner, memory) == []


@pytest.mark.parametrize(("steps", "word"), [("copy", "submitted"), ("report", "copied")])
def test_the_next_worker_does_what_a_killed_one_left_open(site, tmp_path, memory, steps, word):
    with site.open(dead_after_s=LONG_S) as owner:
        with WorkerProcess(site.url, site.instance, tmp_path, steps=steps) as worker:
            worker.hear("ready")
            keys, _ = site.offload(owner, memory=memory)
            worker.hear(word)
        assert not owner.settle(timeout_s=0.1)
        assert found_below(owner, keys) == 0
        with WorkerProcess(site.url, site.instance, tmp_path) as worker:
            worker.hear("submitted")
            assert owner.settle()
            assert found_below(owner, keys) == 4
            check_next(site, owner, memory)
        assert site.failures(owner) == []


@pytest.mark.parametrize("word", ["submitted", "copied"])
def test_what_comes_up_is_done_by_the_next_worker_too(site, tmp_path, memory, word):
    with site.open(dead_after_s=LONG_S) as owner:
        with WorkerProcess(site.url, site.instance, tmp_path, steps="") as worker:
            worker.hear("ready")
            keys, _ = site.offload(owner, memory=memory)
            assert owner.settle()
        owner.evict(keys, tier="g1")
        owner.match("up", keys)
        with WorkerProcess(
            site.url, site.instance, tmp_path, steps={"submitted": "copy", "copied": "report"}[word]
        ) as worker:
            worker.hear("ready")
            owner.onboard("up", keys)
            owner.flush()
            worker.hear(word)
        assert not owner.settle(timeout_s=0.1)
        assert owner.resident(keys) == []
        with WorkerProcess(site.url, site.instance, tmp_path):
            assert owner.settle()
            slots = owner.resident(keys)
            assert [bytes(memory.block("g1", slot)) for slot in slots] == [bytes_of(key) for key in keys]
            owner.release("up")
            check_next(site, owner, memory)


def test_jobs_that_came_while_no_worker_was_there_are_done_once(site, tmp_path, memory):
    with site.open(dead_after_s=LONG_S) as owner:
        with WorkerProcess(site.url, site.instance, tmp_path) as worker:
            worker.hear("ready")
            _, done = site.offload(owner, memory=memory)
            assert owner.settle()
        keys, transfers = site.offload(owner, memory=memory)
        owner.flush()
        owner.maintain()
        with WorkerProcess(site.url, site.instance, tmp_path) as worker:
            assert owner.settle()
            assert found_below(owner, keys) == 4
            check_next(site, owner, memory)
            worker.signal(signal.SIGTERM)
            with pytest.raises(AssertionError):
                worker.hear("never said")
        assert [line for line in worker.heard if line == f"submitted {done[0]}"] == []
        assert worker.heard.count(f"submitted {transfers[0]}") == 1


def test_a_dead_workers_transfers_fail_and_its_successor_clears_them(site, tmp_path, memory):
    with site.open() as owner:
        with WorkerProcess(site.url, site.instance, tmp_path, steps="copy") as worker:
            worker.hear("ready")
            keys, transfers = site.offload(owner, memory=memory)
            worker.hear("submitted")
        pump_until(owner, lambda: owner.status().tiers[1].quarantined == 4)
        reason = f"rank 0 is silent for {DEAD_AFTER_S:g} s"
        assert site.failures(owner) == [(transfers[0], reason, False)]
        assert owner.check_integrity() == []
        with WorkerProcess(site.url, site.instance, tmp_path) as worker:
            worker.hear("ready")
            settle(owner)
            assert site.failures(owner)[1:] == [(transfers[0], reason, True)]
            assert found_below(owner, keys) == 0
            check_next(site, owner, memory)


@pytest.mark.parametrize("deadline", [True, False])
def test_a_worker_that_was_stopped_wakes_up_late(site, tmp_path, memory, deadline):
    """Past its deadline, or silent for too long: what it then writes goes to slots that nobody else has."""
    limits = {"transfer_timeout_s": 1.0, "dead_after_s": LONG_S} if deadline else {}
    with site.open(**limits) as owner, WorkerProcess(site.url, site.instance, tmp_path, steps="copy") as worker:
        worker.hear("ready")
        keys, _ = site.offload(owner, memory=memory)
        worker.hear("submitted")
        worker.signal(signal.SIGSTOP)
        worker.go_on()
        pump_until(owner, lambda: owner.status().tiers[1].quarantined == 4)
        ((_, reason, stopped),) = site.failures(owner)
        assert reason == "deadline passed" if deadline else "silent" in reason
        assert not stopped
        worker.signal(signal.SIGCONT)
        worker.hear("reported")
        settle(owner)
        assert [stopped for *_, stopped in site.failures(owner)] == [False, True]
        assert found_below(owner, keys) == 0
        worker.go_on()
        check_next(site, owner, memory)


def test_an_owner_that_comes_back_learns_when_the_slots_are_quiet(site, tmp_path, memory):
    with WorkerProcess(site.url, site.instance, tmp_path, steps="copy") as worker:
        with site.open() as owner:
            worker.hear("ready")
            keys, transfers = site.offload(owner, memory=memory)
            worker.hear("submitted")
        with site.open() as owner:
            assert owner.status().tiers[1].quarantined == 4
            assert site.failures(owner) == [(transfers[0], "the owner was restarted", False)]
            assert not owner.settle(timeout_s=0.5), "the worker has not said that it stopped"
            worker.go_on()
            settle(owner)
            assert site.failures(owner)[1:] == [(transfers[0], "the owner was restarted", True)]
            assert found_below(owner, keys) == 0
            worker.go_on()
            check_next(site, owner, memory)


def test_a_tier_that_starts_empty_gives_nobody_the_slots_that_a_worker_is_still_to_write(site, tmp_path, memory):
    with WorkerProcess(site.url, site.instance, tmp_path, steps="copy") as worker:
        with site.open() as owner:
            worker.hear("ready")
            site.offload(owner, memory=memory)
            worker.hear("submitted")
        with site.open(keep=["g1"]) as owner:
            assert owner.status().tiers[1].quarantined == 4
            keys, _ = site.offload(owner, memory=memory)
            assert site.failures(owner) == [], "what was open ended with its tier, and is told when it is quiet"
            for _ in range(2):  # what is to be written late is, and then what is new
                worker.go_on()
            pump_until(owner, lambda: found_below(owner, keys) == 4)
            settle(owner)
            assert wrong_blocks(owner, memory) == []
            worker.go_on()
            check_next(site, owner, memory)


def test_two_ranks_and_one_of_them_dies(site, tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    with (
        site.open(ranks=2, dead_after_s=LONG_S) as owner,
        WorkerProcess(site.url, site.instance, folders[0], rank=0, ranks=2) as stays,
    ):
        stays.hear("ready")
        with WorkerProcess(site.url, site.instance, folders[1], rank=1, ranks=2, steps="report") as dies:
            dies.hear("ready")
            keys, _ = site.offload(owner)
            stays.hear("reported")
            dies.hear("copied")
        assert not owner.settle(timeout_s=0.1)
        with WorkerProcess(site.url, site.instance, folders[1], rank=1, ranks=2):
            assert owner.settle()
            assert found_below(owner, keys) == 4
            settle(owner)


def pump_for(owner, time_s, memory):
    end = time.monotonic() + time_s
    while time.monotonic() < end:
        owner.maintain()
        assert wrong_blocks(owner, memory) == []


@pytest.mark.parametrize("seed", range(3))
async def test_workers_and_owners_killed_at_any_moment(site, tmp_path, memory, seed):
    chance = random.Random(seed)
    worker = WorkerProcess(site.url, site.instance, tmp_path)
    owner = site.open(dead_after_s=0.5)
    try:
        for _ in range(6):
            for _ in range(chance.randrange(1, 6)):
                with suppress(TierFull):  # while a worker is away, what it may still read is held
                    site.offload(owner, chance.randrange(1, 6), memory)
            pump_for(owner, chance.random() * 0.6, memory)
            fate = chance.randrange(4)
            if fate == 0:
                owner.close()
                owner = site.open(dead_after_s=0.5)
            elif fate == 1:
                worker.signal(signal.SIGSTOP)
                pump_for(owner, 0.7, memory)
                worker.signal(signal.SIGCONT)
            else:
                worker.__exit__(None, None, None)
                worker = WorkerProcess(site.url, site.instance, tmp_path)
        owner.close()
        owner = site.open(dead_after_s=LONG_S)  # from here on a busy machine's pauses are nobody's death
        worker.hear("ready")
        settle(owner)
        assert wrong_blocks(owner, memory) == []
        check_next(site, owner, memory)
        owner.flush()
    finally:
        worker.__exit__(None, None, None)
    assert (await verdict_of(site.url, site.instance)).flaws == []
