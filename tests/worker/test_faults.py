"""Lost servers, two owners, strangers, and reports of every unfriendly kind, with workers in threads of this process."""

import asyncio

import nats
import pytest

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema.errors import Fenced
from kvbm_tiers.reports import Heartbeat, Reported, encode, report_subject
from kvbm_tiers.worker import WorkerRefused
from support.nats import frozen
from support.workers import StepMover, found_below, pump_until, settle


def check_next(site, owner):
    keys, _ = site.offload(owner)
    assert owner.settle()
    assert found_below(owner, keys) == 4
    settle(owner)


def publish(url, messages):
    """Say this to the stream of reports: `(subject, bytes)`, and wait until it is in there."""

    async def say():
        client = await nats.connect(url)
        stream = client.jetstream()
        for subject, data in messages:
            await stream.publish(subject, data)
        await client.close()

    asyncio.run(say())


def test_the_nats_server_dies_and_comes_back_with_a_job_in_every_step(own_site, nats_server):
    site, mover = own_site, StepMover(may_copy=False)
    with site.open(dead_after_s=60) as owner:
        site.work(mover)
        steps = [lambda: None, lambda: mover.let(report=False), mover.let]
        for step in steps:
            count = len(mover.submitted)
            keys, _ = site.offload(owner)
            mover.wait_submitted(count + 1)
            nats_server.kill()
            step()
            nats_server.start()
            mover.let()
            assert owner.settle()
            assert found_below(owner, keys) == 4
            mover.let(copy=False)
        mover.let()
        check_next(site, owner)
        assert site.failures(owner) == []
        assert len(mover.submitted) == len(set(mover.submitted)), "a transfer was done twice"


def test_a_server_that_does_not_answer_makes_nobody_dead(own_site, nats_server):
    site = own_site
    with site.open(dead_after_s=1.0) as owner:
        site.work()
        check_next(site, owner)
        nats_server.kill()
        keys, _ = site.offload(owner)
        assert not owner.settle(timeout_s=2.0)
        nats_server.start()
        assert owner.settle()
        assert found_below(owner, keys) == 4
        assert site.failures(owner) == []


def test_the_stream_of_reports_is_deleted(own_site):
    site = own_site

    async def delete():
        client = await nats.connect(site.url)
        await client.jetstream().delete_stream("KVBM_REPORTS")
        await client.close()

    with site.open(dead_after_s=60) as owner:
        site.work()
        check_next(site, owner)
        asyncio.run(delete())
        check_next(site, owner)


def test_what_a_new_owner_finds_waiting_is_forgotten_and_what_runs_is_finished(site):
    mover = StepMover(may_copy=False)
    with site.open() as owner:
        site.work(mover, in_flight_max=2)
        transfers = [transfer for _ in range(6) for transfer in site.offload(owner, 1)[1]]
        mover.wait_submitted(2)
        owner.flush()
    with site.open() as owner:
        assert len(owner.state.transfers) == 6
        assert owner.check_integrity() == []
        pump_until(owner, lambda: (hello := site.mover.hellos[0]) and hello.seen[0] == owner.state.epoch)
        mover.let()
        settle(owner)
        assert [stopped for *_, stopped in site.failures(owner)].count(False) == 6
        assert [stopped for *_, stopped in site.failures(owner)].count(True) == 6
        assert mover.submitted == transfers[:2]
        check_next(site, owner)


def test_an_owner_that_was_fenced_with_a_transfer_open_does_not_speak_for_the_new_one(site):
    """As after kill -9, but worse: the one before still lives, listens to the reports, and is asked."""
    mover = StepMover(may_copy=False)
    first = site.open()
    site.work(mover)
    keys, transfers = site.offload(first)
    mover.wait_submitted()
    with site.open() as owner:
        assert site.failures(owner) == [(transfers[0], "the owner was restarted", False)]
        mover.let()
        settle(owner)
        with pytest.raises(Fenced):
            for _ in range(100):
                first.match("late", keys)
                first.flush()
        assert found_below(owner, keys) == 0
        check_next(site, owner)
        site.stop_workers()
        site.work()
        check_next(site, owner)


def test_hostile_duplicate_and_late_reports_do_nothing(site):
    mover = StepMover(may_copy=False)
    with site.open() as owner:
        worker = site.work(mover)
        keys, (transfer,) = site.offload(owner)
        mover.wait_submitted()
        slots = [*owner.state.transfers[transfer].slots]
        good = Reported(incarnation=worker.incarnation, transfer=transfer, slots=[(slots[0], 4)], checksums="0" * 64)
        subject = report_subject(site.instance, 0, good)
        lies = [
            (subject, b"\xff\x00 not json"),
            (subject, b'{"type":"Reported","incarnation":"x","transfer":"1.1","slots":[[0,9999999999]]}'),
            (subject, encode(Heartbeat(incarnation=worker.incarnation))),
            (subject.replace(".0.", ".3."), encode(good)),
            (subject, encode(Reported(incarnation="ghost", transfer=transfer, slots=[(0, 1)]))),
            (subject, encode(Reported(incarnation=worker.incarnation, transfer="1.0", slots=[(0, 1)]))),
            (subject, encode(Reported(incarnation=worker.incarnation, transfer=transfer, slots=[(60, 2)]))),
        ]
        publish(site.url, lies)
        pump_until(owner, lambda: site.mover.passed_over >= len(lies) - 1)
        assert found_below(owner, keys) == 0
        mover.let()
        assert owner.settle()
        n = owner.state.n
        seen = site.mover.passed_over
        publish(site.url, [(subject, encode(good)), (subject, encode(good))])
        pump_until(owner, lambda: site.mover.passed_over == seen + 2)
        assert owner.state.n == n, "a duplicate made an event"
        assert found_below(owner, keys) == 4
        check_next(site, owner)


def test_a_worker_of_another_namespace_is_refused_and_its_jobs_say_so(site):
    with site.open(dead_after_s=1.0) as owner:
        stranger = site.work(namespace="model=other", ready=False)
        assert stranger.wait(30)
        with pytest.raises(WorkerRefused, match="'model=other'"):
            stranger.stop()
        _, transfers = site.offload(owner)
        pump_until(owner, lambda: owner.status().tiers[1].quarantined)
        ((transfer, reason, stopped),) = site.failures(owner)
        assert transfer == transfers[0]
        assert "a worker was refused: its namespace is 'model=other'" in reason
        assert not stopped
        site.work()
        settle(owner)
        check_next(site, owner)


def test_a_worker_ends_when_an_owner_of_another_namespace_opens(site):
    with site.open() as owner:
        worker = site.work()
        check_next(site, owner)
    with site.open(namespace="model=other"):
        assert worker.wait(30)
    with pytest.raises(WorkerRefused, match="epoch 2 is of 'model=other'"):
        worker.stop()


def test_a_worker_ends_when_an_owner_with_other_ranks_opens(site):
    with site.open():
        worker = site.work()
    with site.open(ranks=2):
        assert worker.wait(30)
    with pytest.raises(WorkerRefused, match="it counts 1 ranks, and the owner 2"):
        worker.stop()


def test_a_worker_keeps_its_hands_off_an_epoch_whose_owner_has_no_workers(site):
    mover = StepMover()
    with site.open() as owner:
        site.work(mover)
        check_next(site, owner)
    done = len(mover.submitted)
    with site.open_without_workers() as owner:
        for _ in range(5):
            site.offload(owner)
            assert owner.settle()
    with site.open() as owner:
        check_next(site, owner)
        assert len(mover.submitted) == done + 1


def test_a_job_whose_order_was_trimmed_fails_by_name(site):
    async def trim(seq):
        log = await JetStreamLog.connect(site.url)
        await log.trim(site.instance, seq)
        await log.close()

    with site.open(dead_after_s=600) as owner:
        keys, transfers = site.offload(owner)
        seq = owner.snapshot().seq
        asyncio.run(trim(seq))
        owner.maintain()
        site.work()
        assert owner.settle()
        assert site.failures(owner, after=seq) == [(transfers[0], "its order was trimmed from the log", True)]
        assert found_below(owner, keys) == 0
        check_next(site, owner)


def test_a_frozen_server_is_waited_for(own_site, nats_server):
    site, mover = own_site, StepMover(may_copy=False)
    with site.open(dead_after_s=60) as owner:
        site.work(mover)
        keys, _ = site.offload(owner)
        mover.wait_submitted()
        with frozen(nats_server):
            mover.let()
            assert not owner.settle(timeout_s=2.5)
        assert owner.settle()
        assert found_below(owner, keys) == 4
