"""A transfer through workers of another thread, over a real nats-server: it goes through, whoever restarts meanwhile."""

import pytest
from xxhash import xxh3_64_hexdigest

from kvbm_events.schema import OffloadCompleted, OnboardCompleted
from kvbm_tiers.worker import RankTaken
from support.workers import BLOCK_BYTES, CAPACITIES, StepMover, found_below, pump_until, settle


def fill(mover):
    """Other bytes in every block of g1."""
    for slot in range(CAPACITIES["g1"]):
        mover.block("g1", slot)[:] = bytes((slot + 1,)) * BLOCK_BYTES


def test_down_and_up_again(site):
    mover = StepMover()
    fill(mover)
    with site.open() as owner:
        site.work(mover)
        keys, _ = site.offload(owner)
        pump_until(owner, lambda: found_below(owner, keys) == 4)
        assert owner.evict(keys, tier="g1") == 4
        pump_until(owner, lambda: owner.match("up", keys))
        assert owner.wait([owner.onboard("up", keys)])
        assert len(owner.resident(keys)) == 4
        settle(owner)
        owner.flush()
        down, up = (
            next(e for e in site.events() if isinstance(e, kind)) for kind in (OffloadCompleted, OnboardCompleted)
        )
        digests = "".join(xxh3_64_hexdigest(bytes((slot + 1,)) * BLOCK_BYTES) for slot in range(4))
        assert (down.checksums, down.length_bytes) == (digests, BLOCK_BYTES)
        assert up.checksums == digests


def test_two_ranks_move_their_slices(site):
    movers = StepMover(), StepMover(may_copy=False)
    with site.open(ranks=2) as owner:
        for rank, mover in enumerate(movers):
            site.work(mover, rank=rank, ranks=2)
        keys, _ = site.offload(owner)
        for mover in movers:
            mover.wait_submitted()
        assert not owner.settle(timeout_s=0.3)
        assert found_below(owner, keys) == 0
        movers[1].let()
        assert owner.settle()
        settle(owner)
        owner.flush()
        (event,) = [event for event in site.events() if isinstance(event, OffloadCompleted)]
        assert event.length_bytes == 2 * BLOCK_BYTES
        assert event.checksums == 4 * xxh3_64_hexdigest(2 * xxh3_64_hexdigest(bytes(BLOCK_BYTES)).encode())


def test_a_worker_may_come_before_its_owner_and_after_its_jobs(site):
    worker = site.work(ready=False)
    with site.open() as owner:
        assert worker.wait_ready(30)
        keys, transfers = site.offload(owner)
        assert owner.settle()
        worker.stop()
    mover = StepMover()
    with site.open() as owner:
        keys, transfers = site.offload(owner)
        owner.flush()
        owner.maintain()
        site.work(mover)
        assert owner.settle()
        assert mover.submitted == transfers
        assert found_below(owner, keys) == 4


def test_a_worker_that_ends_says_so_and_its_jobs_fail_at_once(site):
    mover = StepMover(may_copy=False)
    with site.open(dead_after_s=600) as owner:
        worker = site.work(mover)
        keys, transfers = site.offload(owner)
        mover.wait_submitted()
        worker.ask_to_stop()
        mover.let()
        worker.stop()
        assert owner.settle()
        assert found_below(owner, keys) == 4, "what was under way is finished"
        keys, transfers = site.offload(owner)
        assert owner.settle()
        assert site.failures(owner) == [(transfers[0], "rank 0 ended", True)]
        settle(owner)
        site.work(StepMover())
        keys, transfers = site.offload(owner)
        assert owner.settle()
        assert found_below(owner, keys) == 4


def test_a_mover_that_raises_fails_its_job_and_goes_on(site):
    class Moody(StepMover):
        def submit(self, job):
            if not self.submitted:
                self.submitted.append(job.transfer)
                raise OSError("the disk is gone")
            super().submit(job)

    with site.open() as owner:
        site.work(Moody())
        site.offload(owner)
        assert owner.settle()
        ((_, reason, stopped),) = site.failures(owner)
        assert "the disk is gone" in reason
        assert stopped
        keys, _ = site.offload(owner)
        assert owner.settle()
        assert found_below(owner, keys) == 4


def test_of_one_rank_there_is_one_worker(site):
    with site.open():
        site.work()
        second = site.work(ready=False)
        assert second.wait(30)
        with pytest.raises(RankTaken, match="rank 0"):
            second.stop()
