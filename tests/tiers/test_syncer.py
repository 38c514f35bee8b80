"""Jobs share a sync, and its failure; none is reported before its own."""

import errno
import time
from threading import Event

import pytest

from kvbm_tiers import DiskSlab, HostArena, Job, ThreadMover, preset
from support.movers import PATIENCE_S, collect

TINY = preset("tiny")


class GatedSyncSlab(DiskSlab):
    """A disk whose syncs wait for the gate; those whose number is in `bad` fail."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.gate, self.asked, self.syncs, self.bad = Event(), Event(), 0, set()

    def sync(self):
        self.syncs += 1
        self.asked.set()
        assert self.gate.wait(60)
        if self.syncs in self.bad:
            raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def slab(tmp_path):
    slab = GatedSyncSlab(tmp_path / "slab", namespace="m=1", layout=TINY, capacity=8)
    yield slab
    slab.close()


@pytest.fixture
def mover(tmp_path, slab):
    arena = HostArena(tmp_path / "arena", namespace="m=1", layout=TINY, capacity=8)
    mover = ThreadMover({"g2": arena, "g3": slab})
    yield mover
    slab.gate.set()
    mover.close()
    arena.close()


def submit(mover, number, source="g2"):
    mover.submit(
        Job(
            transfer=f"1.{number}",
            source=source,
            tier="g3" if source == "g2" else "g2",
            source_slots=[number],
            slots=[number],
            keys=["0" * 32],
            deadline_us=1 << 60,
        )
    )


def three_jobs_the_last_two_of_which_end_during_the_sync_of_the_first(mover, slab):
    submit(mover, 1)
    assert slab.asked.wait(60)
    submit(mover, 2)
    submit(mover, 3)
    deadline = time.monotonic() + PATIENCE_S
    while mover._syncer._ended.qsize() < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_jobs_that_end_during_a_sync_share_the_next(mover, slab):
    three_jobs_the_last_two_of_which_end_during_the_sync_of_the_first(mover, slab)
    assert mover.poll() == []
    slab.gate.set()
    reports = collect(mover, lambda reports: len(reports) == 3)
    assert [report.reason for report in reports] == ["", "", ""]
    assert slab.syncs == 2


def test_a_failed_sync_fails_those_that_shared_it_and_no_other(mover, slab):
    slab.bad = {2}
    three_jobs_the_last_two_of_which_end_during_the_sync_of_the_first(mover, slab)
    slab.gate.set()
    reports = collect(mover, lambda reports: len(reports) == 3)
    reasons = {report.transfer: report.reason for report in reports}
    assert reasons == {"1.1": "", "1.2": "EIO: Input/output error", "1.3": "EIO: Input/output error"}
    submit(mover, 4)
    assert [report.reason for report in collect(mover, bool)] == [""]


def test_what_goes_to_memory_waits_for_no_sync(mover, slab):
    submit(mover, 1)
    assert slab.asked.wait(60)
    submit(mover, 2, source="g3")
    assert [report.transfer for report in collect(mover, bool)] == ["1.2"]
