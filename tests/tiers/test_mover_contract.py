"""What every mover must do."""

import pytest
from xxhash import xxh3_64_hexdigest

from kvbm_tiers import Job, MemoryMover

BLOCK_BYTES = 48


@pytest.fixture(params=["memory"])
def mover():
    mover = MemoryMover({"g1": 8, "g2": 8}, block_bytes=BLOCK_BYTES)
    yield mover
    mover.close()


def job(source_slots, slots, transfer="1.1"):
    return Job(
        transfer=transfer,
        source="g1",
        tier="g2",
        source_slots=source_slots,
        slots=slots,
        keys=["0" * 32] * len(slots),
        deadline_us=1,
    )


def fill(mover, slot):
    data = bytes((slot + 1,)) * BLOCK_BYTES
    mover.block("g1", slot)[:] = data
    return data


def test_bytes_arrive_where_the_job_says_and_are_reported_with_their_checksums(mover):
    data = [fill(mover, slot) for slot in (5, 2)]
    mover.submit(job([5, 2], [0, 7]))
    (report,) = mover.poll()
    assert [bytes(mover.block("g2", slot)) for slot in (0, 7)] == data
    assert (report.transfer, list(report.slots), report.reason, report.stopped) == ("1.1", [0, 7], "", True)
    assert report.length_bytes == BLOCK_BYTES
    assert report.checksums == "".join(map(xxh3_64_hexdigest, data))


def test_every_job_is_reported_once(mover):
    for number in range(4):
        mover.submit(job([number], [number], transfer=f"1.{number}"))
    assert [report.transfer for report in mover.poll()] == ["1.0", "1.1", "1.2", "1.3"]
    assert mover.poll() == []


def test_slots_that_no_job_names_keep_their_bytes(mover):
    fill(mover, 1)
    mover.submit(job([1], [3]))
    assert all(bytes(mover.block("g2", slot)) == bytes(BLOCK_BYTES) for slot in range(8) if slot != 3)
