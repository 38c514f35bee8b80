"""What every mover must do, on every path that it knows."""

from itertools import chain
from threading import Event

import pytest
from xxhash import xxh3_64_hexdigest

from kvbm_tiers import CORRUPT
from kvbm_tiers.presets import preset
from support.movers import CAPACITY, PARAMS, PATIENCE_S, Rig

LAYOUT = preset("tiny")


@pytest.fixture
def open_rig(request, tmp_path, object_servers):
    def open_remote():
        return request.getfixturevalue("memory_host").open(reset=True)

    return lambda kind: Rig(kind, tmp_path, LAYOUT, servers=object_servers, open_remote=open_remote)


@pytest.fixture(params=PARAMS)
def rig(request, open_rig):
    rig = open_rig(request.param)
    yield rig
    rig.close()


def arrived(reports):
    """Checksum by slot, of what is reported good."""
    sums = {}
    for report in reports:
        if not report.reason:
            assert report.stopped
            assert report.length_bytes == LAYOUT.block_bytes
            assert len(report.checksums) == 16 * len(report.slots)
            sums |= {slot: report.checksums[16 * at : 16 * at + 16] for at, slot in enumerate(report.slots)}
    return sums


def failed(reports):
    """Reason by slot, of what is reported as failed and over."""
    return {slot: report.reason for report in reports if report.reason and report.stopped for slot in report.slots}


@pytest.mark.parametrize("count", [1, 3, 40])
def test_bytes_arrive_where_the_job_says_and_are_reported_with_their_checksums(rig, count):
    sources = [(slot * 7 + 5) % CAPACITY for slot in range(count)]
    slots = [(slot * 11 + 2) % CAPACITY for slot in range(count)]
    data = [rig.fill(slot) for slot in sources]
    rig.mover.submit(rig.job(sources, slots, transfer="7.7"))
    reports = rig.reports(count)
    assert [rig.get(slot) for slot in slots] == data
    assert arrived(reports) == dict(zip(slots, map(xxh3_64_hexdigest, data), strict=True))
    assert {report.transfer for report in reports} == {"7.7"}


def test_slots_that_no_job_names_keep_their_bytes(rig):
    for slot in range(CAPACITY):
        rig.put(slot, bytes((slot,)) * LAYOUT.block_bytes, rig.tier)
    data = rig.fill(1)
    rig.mover.submit(rig.job([1], [3]))
    rig.reports(1)
    assert rig.get(3) == data
    assert all(set(rig.get(slot)) == {slot} for slot in range(CAPACITY) if slot != 3)


def test_every_block_of_many_jobs_is_reported_once(rig):
    for slot in range(CAPACITY):
        rig.fill(slot)
    for first in range(0, CAPACITY, 4):
        rig.mover.submit(rig.job(range(first, first + 4), range(first, first + 4), transfer=f"2.{first}"))
    reports = rig.reports(CAPACITY)
    assert sorted(chain.from_iterable(report.slots for report in reports)) == list(range(CAPACITY))
    assert all(report.transfer == f"2.{min(report.slots)}" for report in reports)
    assert rig.mover.poll() == []


def test_a_block_that_is_what_it_was_passes(rig):
    sums = [xxh3_64_hexdigest(rig.fill(slot)) for slot in range(3)]
    rig.mover.submit(rig.job(range(3), range(3), checksums=[sums[0], "", sums[2]]))
    assert arrived(rig.reports(3)) == dict(enumerate(sums))


def test_a_block_that_is_not_what_it_was_is_corrupt_and_the_others_arrive(rig):
    sums = [xxh3_64_hexdigest(rig.fill(slot)) for slot in range(40)]
    for slot in (4, 17):
        changed = bytearray(rig.fill(slot))
        rig.put(slot, changed)
    rig.mover.submit(rig.job(range(40), range(40), checksums=sums))
    reports = rig.reports(40)
    assert failed(reports) == {4: CORRUPT, 17: CORRUPT}
    assert arrived(reports) == {slot: sums[slot] for slot in range(40) if slot not in {4, 17}}


def test_one_flipped_bit_is_found(rig):
    data = bytearray(rig.fill(9))
    checksum = xxh3_64_hexdigest(data)
    data[len(data) // 2] ^= 1
    rig.put(9, data)
    rig.mover.submit(rig.job([9], [0], checksums=[checksum]))
    assert failed(rig.reports(1)) == {0: CORRUPT}


def test_cancelling_what_is_over_or_unknown_changes_nothing(rig):
    rig.fill(0)
    job = rig.job([0], [0])
    rig.mover.submit(job)
    reports = rig.reports(1)
    rig.mover.cancel(job.transfer)
    rig.mover.cancel("9.9")
    assert arrived(reports)
    assert rig.mover.poll() == []


def test_the_next_job_works_after_one_that_failed(rig):
    data = rig.fill(2)
    rig.mover.submit(rig.job([2], [2], checksums=["0" * 16]))
    assert failed(rig.reports(1)) == {2: CORRUPT}
    rig.mover.submit(rig.job([2], [2]))
    assert arrived(rig.reports(1)) == {2: xxh3_64_hexdigest(data)}
    assert rig.get(2) == data


def test_closing_with_jobs_under_way_ends_and_reports_no_more(rig):
    for slot in range(CAPACITY):
        rig.fill(slot)
    for _ in range(20):
        rig.mover.submit(rig.job(range(CAPACITY), range(CAPACITY)))
    rig.mover.close()
    assert rig.mover.poll() == []


@pytest.fixture(params=[kind for kind in PARAMS if not str(kind).startswith("memory")])
def late_rig(request, open_rig):
    """A mover that minds deadlines, with a clock to set forward; one that is done on submission is never late."""
    rig = open_rig(request.param)
    yield rig
    rig.close()


def test_past_its_deadline_every_block_has_failed_and_is_said_to_have_stopped_once(late_rig):
    for slot in range(CAPACITY):
        late_rig.fill(slot)
    late_rig.clock.ahead_us = 120_000_000
    late_rig.mover.submit(late_rig.job(range(CAPACITY), range(CAPACITY)))
    reports = late_rig.reports(CAPACITY)
    assert failed(reports) == dict.fromkeys(range(CAPACITY), "deadline passed")
    stopped = [slot for report in reports if report.stopped for slot in report.slots]
    doubtful = [slot for report in reports if not report.stopped for slot in report.slots]
    assert sorted(stopped) == list(range(CAPACITY))
    assert len(set(doubtful)) == len(doubtful)
    late_rig.clock.ahead_us = 0
    late_rig.mover.submit(late_rig.job([1], [1]))
    assert list(arrived(late_rig.reports(1))) == [1]


def test_a_path_that_a_mover_has_not_is_reported(late_rig):
    late_rig.mover.submit(late_rig.job([0], [0], tier=late_rig.absent))
    ((slot, reason),) = failed(late_rig.reports(1)).items()
    assert slot == 0
    assert late_rig.absent in reason


def test_a_slot_that_is_not_there_fails_and_the_others_arrive(late_rig):
    data = late_rig.fill(1)
    late_rig.mover.submit(late_rig.job([CAPACITY, 1, 1], [0, 1, CAPACITY]))
    reports = late_rig.reports(3)
    assert arrived(reports) == {1: xxh3_64_hexdigest(data)}
    assert failed(reports) == dict.fromkeys((0, CAPACITY), f"IndexError: slot {CAPACITY} of a store of {CAPACITY}")


def test_who_watches_is_told_when_there_is_something_to_poll(rig):
    news = Event()
    rig.mover.watch(news.set)
    rig.fill(0)
    rig.mover.submit(rig.job([0], [1]))
    reports = rig.mover.poll()
    while not reports:
        assert news.wait(PATIENCE_S)
        news.clear()
        reports = rig.mover.poll()
    assert [list(report.slots) for report in reports] == [[1]]
