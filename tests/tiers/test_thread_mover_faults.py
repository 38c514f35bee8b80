"""What goes wrong under the thread mover, and what it says then."""

import errno
import os
from threading import Event

import pytest
import structlog.testing
from xxhash import xxh3_64_hexdigest

from kvbm_events.schema.errors import NamespaceMismatch
from kvbm_tiers import CORRUPT, CpuDevice, DiskSlab, HostArena, ThreadMover, preset
from kvbm_tiers.mover import Job
from support.movers import CAPACITY, Clock, Rig, collect, open_stores

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


@pytest.fixture
def down(tmp_path):
    """Host to disk."""
    rig = Rig("thread g2-g3", tmp_path, TINY)
    yield rig
    rig.close()


@pytest.fixture
def up(tmp_path):
    """Disk to device, two hops."""
    rig = Rig("thread g3-g1", tmp_path, TINY)
    yield rig
    rig.close()


def reasons(reports):
    return {slot: report.reason for report in reports for slot in report.slots}


def test_a_cut_slab_fails_the_blocks_behind_the_cut(up, tmp_path):
    sums = [xxh3_64_hexdigest(up.fill(slot)) for slot in range(8)]
    os.truncate(tmp_path / "slab", 5 * TINY.slot_bytes + 100)
    up.mover.submit(up.job(range(8), range(8), checksums=sums))
    found = reasons(up.reports(8))
    assert {slot for slot, reason in found.items() if not reason} == set(range(5))
    assert found[6] == f"EIO: short read: 0 of {TINY.slot_bytes} bytes"


def test_a_deleted_slab_takes_no_block(down, tmp_path):
    down.fill(0)
    (tmp_path / "slab").unlink()
    down.mover.submit(down.job([0], [0]))
    assert reasons(down.reports(1)) == {0: "ENOENT: the slab was deleted"}


def test_a_bit_flipped_on_disk_is_found_and_not_brought_up(up, tmp_path):
    data = up.fill(3)
    with (tmp_path / "slab").open("r+b") as file:
        file.seek(3 * TINY.slot_bytes + 7)
        file.write(bytes((data[7] ^ 64,)))
        os.fsync(file.fileno())
    up.mover.submit(up.job([3], [5], checksums=[xxh3_64_hexdigest(data)]))
    assert reasons(up.reports(1)) == {5: CORRUPT}
    assert up.get(5) == bytes(TINY.block_bytes)


def test_a_full_disk_is_named(small_disk, tmp_path):
    capacity = 8
    arena = HostArena(tmp_path / "arena", namespace="m=1", layout=TINY, capacity=capacity)
    slab = DiskSlab(small_disk / "slab", namespace="m=1", layout=TINY, capacity=capacity)
    os.truncate(small_disk / "slab", 0)
    with pytest.raises(OSError, match="No space"), (small_disk / "other").open("wb", buffering=0) as other:
        while True:
            other.write(bytes(4096))
    mover = ThreadMover({"g2": arena, "g3": slab})
    job = Job(
        transfer="1.1",
        source="g2",
        tier="g3",
        source_slots=[0],
        slots=[0],
        keys=["0" * 32],
        deadline_us=1 << 60,
    )
    mover.submit(job)
    assert reasons(collect(mover, bool)) == {0: "ENOSPC: No space left on device"}
    mover.close()
    slab.close()
    arena.close()


def test_a_sync_that_fails_fails_the_whole_job(down, monkeypatch):
    def fail(_fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("kvbm_tiers.disk_slab.os.fdatasync", fail)
    down.mover.submit(down.job([0, 1], [0, 1]))
    assert reasons(down.reports(2)) == dict.fromkeys([0, 1], "EIO: Input/output error")


def test_what_nobody_expected_is_a_failure_too(down, monkeypatch):
    monkeypatch.setattr(down.stores["g3"], "write", lambda *_: 1 / 0)
    down.mover.submit(down.job([0], [0]))
    assert reasons(down.reports(1)) == {0: "ZeroDivisionError: division by zero"}


def test_stores_of_two_layouts_are_refused(tmp_path):
    stores = open_stores(tmp_path, TINY)
    stores["g1"] = CpuDevice(preset("gpt-oss-20b"), 1)
    with pytest.raises(NamespaceMismatch):
        ThreadMover(stores)
    stores["g2"].close()
    stores["g3"].close()


def test_a_job_whose_columns_differ_in_length_is_refused(down):
    with pytest.raises(ValueError, match="not as many sources"):
        down.job([0, 1], [0])
    with pytest.raises(ValueError, match="not as many sources"):
        down.job([0, 1], [0, 1], checksums=["0" * 16])
