"""The thread mover when its threads stall: deadlines, urgency, cancellation, limits, and its end."""

from threading import Event

import pytest
import structlog.testing

from kvbm_tiers import DiskSlab, HostArena, Job, ThreadMover, preset
from support.movers import CAPACITY, Clock, collect

TINY = preset("tiny")
MINUTE_US = 60_000_000


class GatedSlab(DiskSlab):
    """A disk that keeps its callers waiting until the gate is open, and notes what it is asked for."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.gate, self.asked = Event(), Event()
        self.order = []

    def read(self, slot, block):
        self._wait("read", slot)
        super().read(slot, block)

    def write(self, slot, block):
        self._wait("write", slot)
        super().write(slot, block)

    def _wait(self, what, slot):
        self.order.append((what, slot))
        self.asked.set()
        assert self.gate.wait(60)


class Gated:
    """One thread between an arena and a gated disk."""

    def __init__(self, folder):
        self.clock = Clock()
        self.slab = GatedSlab(folder / "slab", namespace="m=1", layout=TINY, capacity=CAPACITY)
        self.arena = HostArena(folder / "arena", namespace="m=1", layout=TINY, capacity=CAPACITY)
        stores = {"g2": self.arena, "g3": self.slab}
        self.mover = ThreadMover(stores, threads=1, blocks_max=100, patience_s=0.1, now_us=self.clock)

    def submit(self, transfer, source, slots):
        self.mover.submit(
            Job(
                transfer=transfer,
                source=source,
                tier="g3" if source == "g2" else "g2",
                source_slots=slots,
                slots=slots,
                keys=["0" * 32] * len(slots),
                deadline_us=self.clock() + MINUTE_US,
            )
        )

    def submit_and_wait_until_it_runs(self, transfer, source, slots):
        self.slab.asked.clear()
        self.submit(transfer, source, slots)
        assert self.slab.asked.wait(60)

    def reports(self, blocks):
        return collect(self.mover, lambda reports: sum(len(report.slots) for report in reports) >= blocks)


@pytest.fixture
def gated(tmp_path):
    gated = Gated(tmp_path)
    yield gated
    gated.slab.gate.set()
    gated.mover.close()
    gated.slab.close()
    gated.arena.close()


def said(reports):
    return [(r.transfer, list(r.slots), r.reason, r.stopped) for r in reports]


def test_what_stalls_past_its_deadline_is_in_doubt_until_it_ends(gated):
    gated.submit_and_wait_until_it_runs("1.1", "g3", [3, 4])
    assert gated.mover.poll() == []
    gated.clock.ahead_us = 2 * MINUTE_US
    assert said(gated.mover.poll()) == [("1.1", [3, 4], "deadline passed", False)]
    assert gated.mover.poll() == []
    gated.slab.gate.set()
    assert said(gated.reports(2)) == [("1.1", [3, 4], "deadline passed", True)]
    assert gated.slab.order == [("read", 3)], "what had not begun does not begin"
    gated.submit("1.2", "g3", [5])
    assert said(gated.reports(1)) == [("1.2", [5], "", True)]


def test_what_has_not_begun_at_its_deadline_is_not_in_doubt(gated):
    gated.submit_and_wait_until_it_runs("1.1", "g3", [0])
    gated.submit("1.2", "g3", [1, 2])
    gated.clock.ahead_us = 2 * MINUTE_US
    assert said(gated.mover.poll()) == [
        ("1.1", [0], "deadline passed", False),
        ("1.2", [1, 2], "deadline passed", True),
    ]


def test_of_a_large_job_only_what_runs_is_in_doubt(gated):
    count = CAPACITY  # two batches of 32 blocks
    gated.submit_and_wait_until_it_runs("1.1", "g3", range(count))
    gated.clock.ahead_us = 2 * MINUTE_US
    assert said(gated.mover.poll()) == [
        ("1.1", list(range(32, count)), "deadline passed", True),
        ("1.1", list(range(32)), "deadline passed", False),
    ]
    gated.slab.gate.set()
    assert said(gated.reports(32)) == [("1.1", list(range(32)), "deadline passed", True)]


def test_an_onboard_goes_before_offloads_that_wait(gated):
    gated.submit_and_wait_until_it_runs("1.1", "g2", [0])
    gated.submit("1.2", "g2", [1])
    gated.submit("1.3", "g3", [2])
    gated.slab.gate.set()
    gated.reports(3)
    assert gated.slab.order == [("write", 0), ("read", 2), ("write", 1)]


def test_a_job_that_has_not_begun_can_be_cancelled_and_one_that_has_cannot(gated):
    gated.submit_and_wait_until_it_runs("1.1", "g2", [0])
    gated.submit("1.2", "g2", [1, 2])
    gated.mover.cancel("1.2")
    gated.mover.cancel("1.1")
    assert said(gated.mover.poll()) == [("1.2", [1, 2], "cancelled", True)]
    gated.slab.gate.set()
    assert said(gated.reports(1)) == [("1.1", [0], "", True)]
    assert gated.slab.order == [("write", 0)]


def test_the_same_job_twice_is_moved_and_reported_once(gated):
    gated.submit_and_wait_until_it_runs("1.1", "g2", [0])
    gated.submit("1.1", "g2", [0])
    gated.slab.gate.set()
    assert said(gated.reports(1)) == [("1.1", [0], "", True)]
    gated.submit("1.2", "g2", [1])
    assert said(gated.reports(1)) == [("1.2", [1], "", True)]
    assert gated.slab.order == [("write", 0), ("write", 1)]


def test_one_job_too_many_is_reported_and_room_comes_back(gated):
    gated.submit_and_wait_until_it_runs("1.1", "g2", range(60))
    gated.submit("1.2", "g2", range(41))
    assert said(gated.mover.poll()) == [
        ("1.2", list(range(41)), "the mover is full: 60 blocks are under way", True),
    ]
    gated.slab.gate.set()
    gated.reports(60)
    gated.submit("1.3", "g2", range(41))
    assert {report.reason for report in gated.reports(41)} == {""}


def test_closing_does_not_wait_for_ever_and_says_what_is_stuck(gated):
    gated.submit_and_wait_until_it_runs("1.1", "g2", [0])
    with structlog.testing.capture_logs() as logs:
        gated.mover.close()
    assert [line["threads"] for line in logs] == [["mover-0"]]
    assert gated.mover.poll() == []
