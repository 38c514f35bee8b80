"""What a worker has been ordered and not finished."""

import pytest

from kvbm_tiers import Deletion, Job
from kvbm_tiers.worker.backlog import Backlog, narrow


def job(n, slots=(1, 2)):
    return Job(
        transfer=f"1.{n}",
        source="g1",
        tier="g2",
        source_slots=[slot + 10 for slot in slots],
        slots=list(slots),
        keys=[f"{slot:032x}" for slot in slots],
        deadline_us=1,
        checksums=[f"{slot:016x}" for slot in slots],
    )


def test_a_transfer_is_unfinished_from_its_order_until_its_last_report_is_stored():
    backlog = Backlog()
    backlog.take((1, 5), job(5))
    backlog.take((1, 6), None)
    assert backlog.statement() == ((1, 6), ["1.5"])
    assert backlog.next() == job(5)
    assert backlog.next() is None
    backlog.finish("1.5", [1])
    assert backlog.statement() == ((1, 6), ["1.5"])
    backlog.finish("1.5", [2])
    backlog.finish("1.5", [2])
    assert backlog.statement() == ((1, 6), [])


def test_of_what_is_in_the_log_already_only_what_the_owner_named_is_done_in_the_slots_it_named():
    backlog = Backlog()
    backlog.expect((1, 7), {"1.5": [2]})
    assert backlog.statement() == ((1, 7), ["1.5"])
    for n in (4, 5, 6, 8):
        backlog.take((1, n), job(n))
    assert [backlog.next(), backlog.next(), backlog.next()] == [job(5, [2]), job(8), None]
    assert backlog.statement() == ((1, 8), ["1.5", "1.8"])


GONE = Deletion(tier="g4", keys=["0" * 32])


def test_a_deletion_keeps_its_place_among_the_jobs_and_outlives_their_owner():
    backlog = Backlog()
    for n, order in enumerate([job(1), GONE, job(3)], 1):
        backlog.take((1, n), order)
    assert [backlog.next(0) for _ in range(3)] == [job(1), GONE, job(3)]
    backlog.take((1, 4), GONE)
    backlog.take((1, 5), job(5))
    backlog.drop_waiting()
    assert [backlog.next(0), backlog.next(0)] == [GONE, None]


def test_what_was_evicted_before_the_worker_came_may_have_been_written_again():
    backlog = Backlog()
    backlog.expect((1, 7), {"1.5": [1, 2]})
    backlog.take((1, 6), GONE)
    backlog.take((1, 8), GONE)
    assert [backlog.next(0), backlog.next(0)] == [GONE, None]


def test_the_part_of_a_job_keeps_each_blocks_source_key_and_checksum():
    assert narrow(job(1, [4, 5, 6]), [6, 4]) == job(1, [4, 6])
    assert narrow(job(1), [2, 1]) == job(1)


def test_what_was_not_begun_is_forgotten_and_what_was_begun_is_not():
    backlog = Backlog()
    backlog.expect((1, 1), {"1.1": [1, 2]})
    backlog.take((1, 2), job(2))
    backlog.take((1, 3), job(3))
    backlog.next()
    backlog.drop_waiting()
    assert backlog.statement() == ((1, 3), ["1.2"])
    assert backlog.next() is None


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda backlog: backlog.take((1, 1), job(1)), 1),
        (lambda backlog: backlog.take((1, 1), None), 0),
        (lambda backlog: backlog.close(), 1),
    ],
    ids=["job", "other event", "close"],
)
def test_who_waits_for_a_job_is_told(act, told):
    backlog, calls = Backlog(), []
    backlog.watch(lambda: calls.append(1))
    act(backlog)
    assert len(calls) == told
