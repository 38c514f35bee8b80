"""Whose bytes are these: workers that come with the memory of before, with another, or with none of it."""

import pytest

from kvbm_events.schema import Attached, Evicted, TransferFailed
from support.workers import StepMover, WorkerProcess, found_below, settle


def events(site, owner, kind):
    owner.flush()
    return [event for event in site.events() if isinstance(event, kind)]


def registered(owner):
    return [tier.registered for tier in owner.status().tiers]


def stored(site, owner):
    """Four blocks in g1 and in g2."""
    keys, _ = site.offload(owner)
    assert owner.settle()
    assert found_below(owner, keys) == 4
    return keys


def check_next(site, owner):
    stored(site, owner)
    settle(owner)


def test_a_worker_with_the_same_memory_changes_nothing(site):
    mover = StepMover()
    with site.open() as owner:
        worker = site.work(mover)
        stored(site, owner)
        worker.stop()
        successor = StepMover()
        successor.contents = mover.contents
        site.work(successor)
        owner.maintain()
        assert registered(owner) == [4, 4]
    with site.open() as owner:
        check_next(site, owner)
        assert registered(owner) == [8, 8]
        assert len(events(site, owner, Attached)) == 1
        assert events(site, owner, Evicted) == []


def test_a_worker_with_other_memory_has_all_blocks_evicted_at_once(site):
    with site.open() as owner:
        site.work().stop()
        keys = stored_again(site, owner)
        owner.match("holder", keys)
        worker = site.work()
        owner.maintain()
        assert registered(owner) == [0, 0]
        gone = events(site, owner, Evicted)
        assert [(event.tier, event.reason, event.actor) for event in gone] == [
            (tier, "reset", f"worker {worker.incarnation}, rank 0") for tier in ("g1", "g2")
        ]
        assert owner.match("other", keys) == []
        assert owner.check_integrity() == []
        assert owner.status().tiers[0].condemned == 4
        owner.release("holder")
        owner.release("other")
        check_next(site, owner)


def stored_again(site, owner):
    worker = site.work()
    owner.maintain()
    keys = stored(site, owner)
    worker.stop()
    return keys


def test_a_new_owner_remembers_whose_bytes_its_blocks_are(site):
    with site.open() as owner:
        worker = site.work()
        keys = stored(site, owner)
        worker.stop()
    with site.open() as owner:
        assert registered(owner) == [4, 4]
        site.work()
        assert owner.match("r", keys) == []
        assert registered(owner) == [0, 0]
        check_next(site, owner)


def test_what_was_under_way_fails_and_is_never_found_though_the_next_worker_does_it(site, tmp_path):
    """The source went with the one before: what its successor moves has other bytes, and a checksum that fits them."""
    folders = [tmp_path / name for name in ("before", "after")]
    for folder in folders:
        folder.mkdir()
    with site.open(dead_after_s=600) as owner:
        with WorkerProcess(site.url, site.instance, folders[0], steps="copy") as worker:
            worker.hear("ready")
            keys, transfers = site.offload(owner)
            worker.hear("submitted")
        with WorkerProcess(site.url, site.instance, folders[1]) as worker:
            worker.hear("reported")
            assert owner.settle()
            assert found_below(owner, keys) == 0
            settle(owner)
            failed = events(site, owner, TransferFailed)
            assert {event.transfer for event in failed} == set(transfers)
            assert [event.stopped for event in failed] == [False, True]
            assert registered(owner) == [0, 0]
            check_next(site, owner)


@pytest.mark.parametrize("loser", [0, 1])
def test_one_ranks_loss_is_the_blocks_loss(site, loser):
    movers = [StepMover(), StepMover()]
    with site.open(ranks=2) as owner:
        workers = [site.work(mover, rank=rank, ranks=2) for rank, mover in enumerate(movers)]
        stored(site, owner)
        workers[loser].stop()
        site.work(rank=loser, ranks=2)
        owner.maintain()
        assert registered(owner) == [0, 0]
        assert {event.actor.rpartition(" ")[2] for event in events(site, owner, Evicted)} == {str(loser)}
        check_next(site, owner)
        assert registered(owner) == [4, 4]


def test_a_worker_with_new_memory_proves_quiet_what_its_predecessor_left_over_an_owners_restart(site, tmp_path):
    folders = [tmp_path / name for name in ("before", "after")]
    for folder in folders:
        folder.mkdir()
    with site.open() as owner, WorkerProcess(site.url, site.instance, folders[0], steps="copy") as worker:
        worker.hear("ready")
        site.offload(owner)
        worker.hear("submitted")
    with site.open() as owner:
        assert owner.status().tiers[1].quarantined == 4
        with WorkerProcess(site.url, site.instance, folders[1]) as worker:
            worker.hear("ready")
            settle(owner)
            check_next(site, owner)
