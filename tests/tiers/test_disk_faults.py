"""A disk that fails under a mover: only the blocks that must fail do, and the reason says what a person can act on."""

import errno
import os

import pytest
from xxhash import xxh3_64_hexdigest

from kvbm_events.schema.errors import NamespaceMismatch
from kvbm_tiers import CORRUPT, CpuDevice, ThreadMover, loss, preset
from support.movers import Rig, open_stores
from support.nixl import marked
from support.small_disk import fill

TINY = preset("tiny")
MOVERS = marked(["thread", "nixl aio", "nixl uring"])


@pytest.fixture(params=MOVERS)
def open_rig(request, tmp_path):
    """Makes the rig of a path between two tiers."""
    rigs = []

    def open_(path, folder=tmp_path, **more):
        rigs.append(Rig(f"{request.param} {path}", folder, TINY, **more))
        return rigs[-1]

    yield open_
    for rig in rigs:
        rig.close()


def reasons(reports):
    assert all(report.stopped for report in reports)
    return {slot: report.reason for report in reports for slot in report.slots}


@pytest.mark.parametrize("path", ["g3-g2", "g3-g1"])
def test_blocks_behind_the_cut_of_a_slab_are_corrupt(open_rig, path, tmp_path):
    up = open_rig(path)
    sums = [xxh3_64_hexdigest(up.fill(slot)) for slot in range(8)]
    os.truncate(tmp_path / "slab", 5 * TINY.slot_bytes)
    up.mover.submit(up.job(range(8), range(8), checksums=sums))
    cut = f"corrupt: short read: 0 of {TINY.slot_bytes} bytes"
    assert reasons(up.reports(8)) == {**dict.fromkeys(range(5), ""), **dict.fromkeys(range(5, 8), cut)}
    assert loss(cut) == "corrupt"


def test_a_deleted_slab_takes_no_block(open_rig, tmp_path):
    down = open_rig("g2-g3")
    down.fill(0)
    (tmp_path / "slab").unlink()
    down.mover.submit(down.job([0], [0]))
    assert reasons(down.reports(1)) == {0: "ENOENT: the slab was deleted"}


@pytest.mark.parametrize("path", ["g3-g2", "g3-g1"])
def test_a_bit_flipped_on_disk_is_found(open_rig, path, tmp_path):
    up = open_rig(path)
    sums = {slot: xxh3_64_hexdigest(up.fill(slot)) for slot in range(3, 7)}
    with (tmp_path / "slab").open("r+b") as file:
        at = 4 * TINY.slot_bytes + 7
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes((byte ^ 64,)))
        file.flush()
        os.fsync(file.fileno())
    up.mover.submit(up.job(range(3, 7), range(3, 7), checksums=[*sums.values()]))
    assert reasons(up.reports(4)) == {3: "", 4: CORRUPT, 5: "", 6: ""}


def test_what_is_corrupt_on_disk_never_reaches_a_device(open_rig):
    up = open_rig("g3-g1")
    up.fill(3)
    up.mover.submit(up.job([3], [5], checksums=["0" * 16]))
    assert reasons(up.reports(1)) == {5: CORRUPT}
    assert up.get(5) == bytes(TINY.block_bytes)


def test_a_full_disk_is_named(open_rig, small_disk):
    down = open_rig("g2-g3", small_disk, capacity=8)
    os.truncate(small_disk / "slab", 0)
    filler = fill(small_disk)
    down.mover.submit(down.job([0, 1], [0, 1]))
    assert reasons(down.reports(2)) == dict.fromkeys([0, 1], "ENOSPC: No space left on device")
    filler.unlink()
    down.mover.submit(down.job([0, 1], [0, 1]))
    assert reasons(down.reports(2)) == {0: "", 1: ""}


def test_a_sync_that_fails_fails_the_whole_job(open_rig, monkeypatch):
    def fail(_fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    down = open_rig("g2-g3")
    monkeypatch.setattr("kvbm_tiers.disk_slab.os.fdatasync", fail)
    down.mover.submit(down.job([0, 1], [0, 1]))
    assert reasons(down.reports(2)) == dict.fromkeys([0, 1], "EIO: Input/output error")


def test_what_nobody_expected_is_a_failure_too(open_rig, monkeypatch):
    down = open_rig("g1-g3")
    monkeypatch.setattr(down.stores["g1"], "read", lambda *_: 1 / 0)
    down.mover.submit(down.job([0], [0]))
    assert reasons(down.reports(1)) == {0: "ZeroDivisionError: division by zero"}


def test_stores_of_two_layouts_are_refused(tmp_path):
    stores = open_stores(tmp_path, TINY)
    stores["g1"] = CpuDevice(preset("gpt-oss-20b"), 1)
    with pytest.raises(NamespaceMismatch):
        ThreadMover(stores)
    stores["g2"].close()
    stores["g3"].close()


def test_a_job_whose_columns_differ_in_length_is_refused(open_rig):
    down = open_rig("g2-g3")
    with pytest.raises(ValueError, match="not as many sources"):
        down.job([0, 1], [0])
    with pytest.raises(ValueError, match="not as many sources"):
        down.job([0, 1], [0, 1], checksums=["0" * 16])
