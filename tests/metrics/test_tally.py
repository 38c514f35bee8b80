"""What events add up to: each counted once, whatever order the reports of a transfer come in."""

import threading

import pytest

from kvbm_events.schema import (
    Evicted,
    Found,
    Matched,
    Noted,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    OnboardFailed,
    pack_keys,
)
from kvbm_nats.metrics import Families, Tally
from kvbm_nats.metrics.reasons import CLASSES, reason_class
from support.chained_keys import prefix

KEYS = prefix(range(4))
START_US = 1_700_000_000_000_000


class Counted:
    """A tally and the events that it is told, with a clock of the test's own."""

    def __init__(self):
        self.now_s, self._n = 0.0, 0
        self.tally = Tally("i", now_s=lambda: self.now_s)

    def tell(self, kind, *, after_s=0.0, **fields):
        self._n += 1
        head = {"epoch": 1, "n": self._n, "at_us": START_US + int(after_s * 1e6)}
        self.tally.sending([kind(**head, **fields)])

    def start(self, blocks=4):
        self.tell(
            OffloadStarted,
            transfer="1.9",
            source="g1",
            tier="g2",
            source_slots=[(0, blocks)],
            slots=[(10, blocks)],
            keys=pack_keys(KEYS[:blocks]),
            deadline_us=START_US + 1,
        )

    def samples(self, name):
        """Values by labels other than the instance."""
        families = Families()
        self.tally.tell(families)
        return {
            tuple(value for label, value in sample.labels.items() if label != "instance"): sample.value
            for family in families.told()
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture
def counted():
    return Counted()


def test_look_ups_are_hits_partial_or_misses(counted):
    counted.tell(Matched, request="a", asked=5)
    counted.tell(
        Matched,
        request="b",
        asked=5,
        found=[Found(tier="g1", blocks=2, last=KEYS[0]), Found(tier="g2", blocks=3, last=KEYS[1])],
    )
    counted.tell(Matched, request="c", asked=5, found=[Found(tier="g2", blocks=1, last=KEYS[0])], held=False)
    assert counted.samples("kvbm_lookups_total") == {("hit",): 1, ("partial",): 1, ("miss",): 1}
    assert counted.samples("kvbm_asked_blocks_total") == {(): 15}
    assert counted.samples("kvbm_found_blocks_total") == {("g1",): 2, ("g2",): 4}


def test_evictions_count_blocks_by_tier_and_reason(counted):
    for tier, reason, blocks in [("g1", "capacity", 3), ("g1", "capacity", 2), ("g2", "corrupt", 1)]:
        keys = pack_keys(KEYS[:1] * blocks)
        counted.tell(Evicted, tier=tier, slots=[(0, blocks)], keys=keys, reason=reason, actor="lru")
    assert counted.samples("kvbm_evicted_blocks_total") == {("g1", "capacity"): 5, ("g2", "corrupt"): 1}


def test_what_is_noted_counts_by_whose_it_is(counted):
    for writer, blocks in [("a", 2), ("b", 1), ("a", 1)]:
        keys = pack_keys(KEYS[:blocks])
        counted.tell(Noted, tier="g4", writer=writer, slots=[(0, blocks)], keys=keys, checksums="1" * 16 * blocks)
    assert counted.samples("kvbm_noted_blocks_total") == {("a",): 3, ("b",): 1}


def test_a_transfer_that_comes_in_parts_ends_once(counted):
    counted.start()
    counted.tell(OffloadCompleted, transfer="1.9", tier="g2", slots=[(10, 1)], length_bytes=100, after_s=0.002)
    assert counted.samples("kvbm_transfers_total") == {}
    counted.tell(OffloadCompleted, transfer="1.9", tier="g2", slots=[(11, 3)], length_bytes=100, after_s=0.02)
    assert counted.samples("kvbm_transfers_total") == {("g1", "g2", "completed"): 1}
    assert counted.samples("kvbm_moved_bytes_total") == {("g1", "g2"): 400}
    assert counted.samples("kvbm_transfer_duration_seconds_sum") == {("g1", "g2"): 0.02}
    buckets = counted.samples("kvbm_transfer_duration_seconds_bucket")
    assert (buckets["g1", "g2", "0.01"], buckets["g1", "g2", "0.025"], buckets["g1", "g2", "+Inf"]) == (0, 1, 1)


def test_blocks_in_doubt_fail_once_however_often_they_are_told_of(counted):
    counted.start()
    counted.tell(OffloadFailed, transfer="1.9", tier="g2", slots=[(10, 3)], reason="deadline passed", stopped=False)
    counted.tell(OffloadCompleted, transfer="1.9", tier="g2", slots=[(13, 1)], length_bytes=1)
    assert counted.samples("kvbm_transfers_total") == {("g1", "g2", "partial"): 1}
    counted.tell(OffloadFailed, transfer="1.9", tier="g2", slots=[(10, 2)], reason="rank 0 is silent for 2 s")
    counted.tell(OffloadFailed, transfer="1.9", tier="g2", slots=[(12, 1)], reason="arrived too late")
    assert counted.samples("kvbm_failed_blocks_total") == {("g1", "g2", "deadline"): 3}
    assert counted.samples("kvbm_transfers_total") == {("g1", "g2", "partial"): 1}
    assert counted.tally._open == {}


def test_a_transfer_of_which_nothing_came_has_failed(counted):
    counted.start()
    counted.tell(OffloadFailed, transfer="1.9", tier="g2", slots=[(10, 4)], reason="gone: no such object")
    assert counted.samples("kvbm_transfers_total") == {("g1", "g2", "failed"): 1}
    assert counted.samples("kvbm_failed_blocks_total") == {("g1", "g2", "gone"): 4}


def test_the_end_of_a_transfer_of_an_owner_before_counts_nowhere(counted):
    counted.tell(OnboardFailed, transfer="0.3", tier="g1", slots=[(1, 2)], reason="the owner was restarted")
    counted.tell(OffloadCompleted, transfer="0.4", tier="g2", slots=[(1, 2)], length_bytes=100)
    for name in ("kvbm_transfers_total", "kvbm_failed_blocks_total", "kvbm_moved_bytes_total"):
        assert counted.samples(name) == {}


def test_a_batch_is_appended_when_its_last_event_is_acknowledged(counted):
    for _ in range(3):
        counted.tell(Matched, request="a", asked=1)
        counted.now_s += 0.5
    counted.tally.acked(2)
    assert counted.samples("kvbm_log_append_duration_seconds_count") == {(): 2}
    assert counted.samples("kvbm_log_append_duration_seconds_sum") == {(): 1.5 + 1.0}
    counted.tally.acked(3)
    assert counted.samples("kvbm_log_append_duration_seconds_count") == {(): 3}


def test_it_can_be_read_while_it_counts(counted):
    def write():
        for _ in range(3000):
            counted.tell(Matched, request="a", asked=2, found=[Found(tier="g1", blocks=2, last=KEYS[0])])

    writer = threading.Thread(target=write)
    writer.start()
    seen = [counted.samples("kvbm_asked_blocks_total")[()] for _ in range(50)]
    writer.join()
    assert seen == sorted(seen)
    assert counted.samples("kvbm_found_blocks_total") == {("g1",): 6000}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("corrupt", "corrupt"),
        ("gone: no such object", "gone"),
        ("g2 of rank 3 was reset", "reset"),
        ("its deadline passed before it began", "deadline"),
        ("the owner was restarted", "owner_restarted"),
        ("rank 1 is silent for 10 s; a worker was refused: x", "worker_lost"),
        ("rank 1 ended", "worker_lost"),
        ("No space left on device", "other"),
    ],
)
def test_reasons_are_a_handful(reason, word):
    assert reason_class(reason) == word
    assert word in CLASSES
