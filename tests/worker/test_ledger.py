"""The owner's book of transfers and ranks, without threads, clocks and NATS: what it concludes from what ranks say."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from xxhash import xxh3_64_hexdigest

from kvbm_nats.workers import Ledger
from kvbm_tiers import CORRUPT, Job
from kvbm_tiers.reports import Heartbeat, Hello, OpenQuestion, Reported

NAMESPACE = "n=1"
DEAD_AFTER_S = 5.0


def job(n, slots, epoch=1):
    return Job(
        transfer=f"{epoch}.{n}",
        source="g1",
        tier="g2",
        source_slots=list(slots),
        slots=list(slots),
        keys=["0" * 32] * len(slots),
        deadline_us=1,
    )


def hello(incarnation="a", rank=0, ranks=1, **more):
    return Hello(incarnation=incarnation, rank=rank, ranks=ranks, **{"namespace": NAMESPACE, **more})


def good(slots, transfer="1.1", incarnation="a", digit="0"):
    runs = [(slot, 1) for slot in slots]
    return Reported(
        incarnation=incarnation, transfer=transfer, slots=runs, length_bytes=10, checksums=digit * 16 * len(runs)
    )


def bad(slots, transfer="1.1", incarnation="a", **more):
    return Reported(
        incarnation=incarnation, transfer=transfer, slots=[(slot, 1) for slot in slots], reason="broken", **more
    )


def book(ranks=1, *, left=None, say_hello=True):
    ledger = Ledger(NAMESPACE, ranks, dead_after_s=DEAD_AFTER_S, now_s=0)
    ledger.begin(1, left or {})
    for rank in range(ranks if say_hello else 0):
        ledger.hear(rank, hello(rank=rank, ranks=ranks), 0)
    return ledger


def told(ledger):
    """What the owner is told, a block at a time."""
    return [(r.transfer, slot, r.reason, r.stopped) for r in ledger.take() for slot in r.slots]


def test_one_rank_is_told_as_it_said():
    ledger = book()
    ledger.submit(job(1, [4, 5, 6]))
    ledger.hear(0, good([4, 6]), 1)
    (report,) = ledger.take()
    assert (list(report.slots), report.length_bytes, report.checksums) == ([4, 6], 10, "0" * 32)
    ledger.hear(0, bad([5]), 1)
    assert told(ledger) == [("1.1", 5, "broken", True)]


def test_a_block_arrived_when_it_arrived_at_every_rank():
    ledger = book(2)
    ledger.submit(job(1, [4, 5]))
    ledger.hear(0, good([4, 5]), 1)
    assert told(ledger) == []
    ledger.hear(1, good([5], digit="1"), 1)
    (report,) = ledger.take()
    assert (list(report.slots), report.length_bytes) == ([5], 20)
    assert report.checksums == xxh3_64_hexdigest(b"0" * 16 + b"1" * 16)
    ledger.hear(1, bad([4]), 1)
    assert told(ledger) == [("1.1", 4, "rank 1: broken", True)]


def test_of_slices_the_owner_sees_whether_the_block_is_what_it_was():
    whole = xxh3_64_hexdigest(2 * b"0" * 16)
    ledger = book(2)
    ledger.submit(structs.replace(job(1, [4, 5, 6]), checksums=[whole, whole, ""]))
    ledger.hear(0, good([4, 5, 6]), 1)
    ledger.hear(1, good([4]), 1)
    ledger.hear(1, good([5, 6], digit="1"), 1)
    assert told(ledger) == [("1.1", 4, "", True), ("1.1", 5, CORRUPT, True), ("1.1", 6, "", True)]


def test_what_is_corrupt_at_one_rank_is_corrupt():
    ledger = book(2)
    ledger.submit(job(1, [4]))
    ledger.hear(0, bad([4]), 1)
    ledger.hear(1, structs.replace(bad([4]), reason=CORRUPT), 1)
    assert told(ledger) == [("1.1", 4, CORRUPT, True)]


def test_a_failed_block_is_quiet_when_every_rank_is():
    ledger = book(2)
    ledger.submit(job(1, [4]))
    ledger.hear(0, bad([4], stopped=False), 1)
    ledger.hear(1, good([4]), 1)
    assert told(ledger) == [("1.1", 4, "rank 0: broken", False)]
    ledger.hear(0, good([4]), 2)
    assert told(ledger) == [("1.1", 4, "rank 0: broken", True)]


def test_what_comes_twice_or_late_or_of_nobody_does_nothing():
    ledger = book()
    ledger.submit(job(1, [4]))
    for report in [good([4]), good([4]), bad([4]), good([9]), good([1], transfer="1.0"), bad([4], incarnation="ghost")]:
        ledger.hear(0, report, 1)
    ledger.hear(7, good([4]), 1)
    assert told(ledger) == [("1.1", 4, "", True)]
    assert ledger.passed_over == 6


def test_a_report_waits_for_its_job():
    ledger = book()
    ledger.hear(0, good([7], transfer="1.2"), 1)
    ledger.hear(0, good([4]), 1)
    ledger.hear(0, Heartbeat(incarnation="a", seen=(1, 9)), 1)
    ledger.submit(job(1, [4]))
    ledger.submit(job(2, [7]))
    assert told(ledger) == [("1.1", 4, "", True), ("1.2", 7, "", True)]


def test_a_silent_rank_fails_what_it_has_open_and_its_word_clears_it():
    ledger = book(2)
    ledger.submit(job(1, [4]))
    ledger.hear(0, good([4]), DEAD_AFTER_S)
    ledger.tick(DEAD_AFTER_S - 1)
    assert told(ledger) == []
    ledger.tick(DEAD_AFTER_S)
    assert told(ledger) == [("1.1", 4, "rank 1 is silent for 5 s", False)]
    ledger.tick(DEAD_AFTER_S + 1)
    assert told(ledger) == []
    ledger.hear(1, good([4]), DEAD_AFTER_S + 2)
    assert told(ledger) == [("1.1", 4, "rank 1 is silent for 5 s", True)]


def test_what_cannot_be_heard_is_not_silent():
    ledger = book()
    ledger.submit(job(1, [4]))
    ledger.pause(100)
    ledger.tick(101)
    assert told(ledger) == []


def test_a_new_incarnation_does_what_is_open_and_clears_what_is_not():
    ledger = book()
    ledger.submit(job(1, [4, 5]))
    ledger.submit(job(2, [6]))
    ledger.hear(0, good([4]), 1)
    ledger.tick(DEAD_AFTER_S + 1)
    ledger.submit(job(3, [7, 8]))
    told(ledger)
    ledger.hear(0, good([7], transfer="1.3"), DEAD_AFTER_S + 2)
    told(ledger)
    answer = ledger.answer(OpenQuestion(epoch=1, hello=hello("b")), DEAD_AFTER_S + 3)
    assert (answer.epoch, answer.n, answer.refusal) == (1, 3, "")
    assert [(job.transfer, job.slots) for job in answer.jobs] == [("1.3", [(8, 1)])]
    ledger.hear(0, good([8], transfer="1.3", incarnation="a"), DEAD_AFTER_S + 3)  # the one before, too late
    assert told(ledger) == []
    ledger.hear(0, Heartbeat(incarnation="b", seen=(1, 3), unfinished=["1.3"]), DEAD_AFTER_S + 4)
    assert [(transfer, slot, stopped) for transfer, slot, _, stopped in told(ledger)] == [
        ("1.1", 5, True),
        ("1.2", 6, True),
    ]
    ledger.hear(0, good([8], transfer="1.3", incarnation="b"), DEAD_AFTER_S + 5)
    assert told(ledger) == [("1.3", 8, "", True)]


def test_a_new_incarnation_is_not_asked_for_what_its_rank_has_said():
    ledger = book(2)
    ledger.submit(job(1, [4, 5]))
    ledger.submit(job(2, [6]))
    ledger.hear(0, good([4]), 1)
    ledger.hear(0, good([6], transfer="1.2"), 1)
    answer = ledger.answer(OpenQuestion(epoch=1, hello=hello("b", 0, 2)), 2)
    assert [(job.transfer, job.slots) for job in answer.jobs] == [("1.1", [(5, 1)])]


def test_reports_that_waited_do_not_count_after_their_worker_was_followed():
    ledger = book()
    ledger.hear(0, good([4]), 1)
    ledger.answer(OpenQuestion(epoch=1, hello=hello("b")), 2)
    ledger.submit(job(1, [4]))
    assert told(ledger) == []


def test_a_worker_that_was_followed_never_counts_again():
    ledger = book()
    ledger.hear(0, hello("b"), 1)
    ledger.hear(0, hello("a"), 2)
    ledger.submit(job(1, [4]))
    ledger.hear(0, good([4], incarnation="a"), 3)
    assert told(ledger) == []
    assert "came after" in ledger.answer(OpenQuestion(epoch=1, hello=hello("a")), 3).refusal


def test_what_owners_before_left_is_quiet_when_every_rank_has_seen_this_one():
    ledger = book(2, left={"0.5": [1, 2]}, say_hello=False)
    ledger.hear(0, hello(rank=0, ranks=2, seen=(1, 0)), 1)
    ledger.hear(1, hello(rank=1, ranks=2, seen=(1, 0), unfinished=["0.5"]), 1)
    assert told(ledger) == []
    assert ledger.answer(OpenQuestion(epoch=1, hello=hello(rank=1, ranks=2)), 1).jobs == []
    ledger.hear(1, good([1, 2], transfer="0.5"), 2)
    assert told(ledger) == [("0.5", 1, "the owner was restarted", True), ("0.5", 2, "the owner was restarted", True)]


def test_nothing_left_is_known_to_be_quiet():
    ledger = Ledger(NAMESPACE, 1, dead_after_s=1, now_s=0)
    assert ledger.begin(3, {})
    assert not Ledger(NAMESPACE, 1, dead_after_s=1, now_s=0).begin(3, {"1.1": [0]})


def test_a_rank_that_ended_fails_at_once_what_is_and_what_comes():
    ledger = book()
    ledger.submit(job(1, [4]))
    ledger.hear(0, Heartbeat(incarnation="a", seen=(1, 1), ended=True), 1)
    assert told(ledger) == [("1.1", 4, "rank 0 ended", True)]
    ledger.submit(job(2, [4]))
    assert told(ledger) == [("1.2", 4, "rank 0 ended", True)]


def test_ranks_that_divide_blocks_in_other_ways_are_refused():
    ledger = book(ranks=4, say_hello=False)
    assert ledger.answer(OpenQuestion(epoch=1, hello=hello("a", rank=0, ranks=4, pp=2)), 1).refusal == ""
    why = "it has 1 stages of pipeline parallel, and rank 0 has 2"
    assert ledger.answer(OpenQuestion(epoch=1, hello=hello("b", rank=1, ranks=4)), 1).refusal == why
    assert ledger.ranks[1].hello is None
    assert ledger.answer(OpenQuestion(epoch=1, hello=hello("c", rank=1, ranks=4, pp=2)), 1).refusal == ""
    assert ledger.answer(OpenQuestion(epoch=1, hello=hello("d", rank=0, ranks=4, pp=2)), 1).refusal == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"namespace": "n=2"}, "its namespace is 'n=2', and the owner's is 'n=1'"), ({"ranks": 2}, "it counts 2 ranks")],
)
def test_a_worker_that_does_not_belong_is_refused_and_the_reason_is_told(changes, why):
    ledger = book(say_hello=False)
    stranger = hello("b", **changes)
    ledger.hear(0, stranger, 1)
    assert why in ledger.answer(OpenQuestion(epoch=1, hello=stranger), 1).refusal
    ledger.submit(job(1, [4]))
    ledger.hear(0, good([4], incarnation="b"), 2)
    assert told(ledger) == []
    ledger.tick(DEAD_AFTER_S)
    ((_, _, reason, stopped),) = told(ledger)
    assert why in reason
    assert not stopped


def test_the_order_in_which_two_ranks_speak_does_not_matter():
    said = [(0, good([4])), (1, good([4])), (0, Heartbeat(incarnation="a", seen=(1, 1))), (1, bad([5])), (0, good([5]))]
    for order in permutations(said):
        if order.index(said[2]) < order.index(said[0]) or order.index(said[2]) < order.index(said[4]):
            continue  # a worker says that it is done after it has reported
        ledger = book(2)
        ledger.submit(job(1, [4, 5]))
        for rank, message in order:
            ledger.hear(rank, message, 1)
        assert sorted(told(ledger)) == [("1.1", 4, "", True), ("1.1", 5, "rank 1: broken", True)]


INCARNATIONS = st.sampled_from(["a", "b"])
TRANSFERS = st.sampled_from(["0.9", "1.1", "1.2", "1.3", "7.7"])
MESSAGES = st.one_of(
    st.builds(
        hello,
        INCARNATIONS,
        ranks=st.just(2),
        rank=st.integers(0, 1),
        seen=st.tuples(st.integers(0, 2), st.integers(0, 3)),
    ),
    st.builds(
        Heartbeat,
        incarnation=INCARNATIONS,
        seen=st.tuples(st.integers(0, 2), st.integers(0, 3)),
        unfinished=st.lists(TRANSFERS),
        ended=st.booleans(),
    ),
    st.builds(good, st.lists(st.integers(0, 8), max_size=4, min_size=1), TRANSFERS, INCARNATIONS),
    st.builds(bad, st.lists(st.integers(0, 8), max_size=4), TRANSFERS, INCARNATIONS, stopped=st.booleans()),
)
STEPS = st.one_of(
    st.tuples(st.integers(0, 2), MESSAGES),
    st.just("submit"),
    st.floats(0, 3),
    st.sampled_from([hello("c", ranks=2), hello("a", 1, 2)]),
)


@given(st.lists(STEPS, max_size=40))
def test_whatever_is_said_each_block_is_told_once_good_or_once_quiet(steps):
    ledger = book(2, left={"0.9": [0, 1]})
    coming = [job(1, [2, 3]), job(2, [4, 5]), job(3, [6, 7])]
    submitted = {("0.9", 0), ("0.9", 1)}
    final, doubtful, now_s = {}, set(), 0.0
    for step in steps:
        if step == "submit":
            if coming:
                submitted |= {(coming[0].transfer, slot) for slot in coming[0].slots}
                ledger.submit(coming.pop(0))
        elif isinstance(step, float):
            now_s += step
            ledger.tick(now_s)
        elif isinstance(step, Hello):
            ledger.answer(OpenQuestion(epoch=1, hello=step), now_s)
        else:
            ledger.hear(*step, now_s)
        for transfer, slot, reason, stopped in told(ledger):
            block = transfer, slot
            assert block in submitted
            assert block not in final, "told again after its end"
            assert stopped or reason
            if not stopped:
                assert block not in doubtful
                doubtful.add(block)
            else:
                assert reason or (block not in doubtful and transfer != "0.9"), "good after it had failed"
                final[block] = reason
