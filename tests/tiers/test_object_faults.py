"""Object storage that fails under a mover, by obstore and by NIXL: what must fail does, says why, and the next job works."""

from contextlib import contextmanager

import pytest
import structlog.testing
from xxhash import xxh3_64_hexdigest

from kvbm_tiers import CORRUPT, loss, preset
from support.movers import Rig, collect, key_of
from support.nixl import marked
from support.object_servers import BUCKET, SECRET
from support.s3_faults import Fault

TINY = preset("tiny")
SIZE = TINY.block_bytes
ROUNDS = 3
"""Each fault comes so often, with work between: nothing may pile up."""


@pytest.fixture(params=marked(["obstore", "nixl"]))
def open_rig(request, tmp_path, s3):
    """Makes the rig of a path between two tiers, one of them on the server `s3`."""
    rigs = []

    def open_(path, timeout_s=5.0):
        s3.options = {"timeout_s": timeout_s}
        (folder := tmp_path / f"rig{len(rigs)}").mkdir()
        rigs.append(Rig(f"{request.param} s3 {path}", folder, TINY, servers=s3))
        return rigs[-1]

    yield open_
    for rig in rigs:
        rig.close()


def name(rig, slot):
    return rig.stores["g4"].blocks.names.of_block(key_of(slot))


def reasons(reports):
    assert all(report.stopped for report in reports)
    return {slot: report.reason for report in reports for slot in report.slots}


def job(rig, count=4, **more):
    return rig.job(range(count), range(count), **more)


def check_next(rig):
    """What comes next is moved as if nothing had been."""
    sums = [xxh3_64_hexdigest(rig.fill(slot)) for slot in range(8, 12)]
    rig.mover.submit(rig.job(range(8, 12), range(8, 12), checksums=sums))
    assert reasons(rig.reports(4)) == dict.fromkeys(range(8, 12), "")
    assert not rig.stores["g4"].order._writing, "a write that is over still stands in the way of the next one"


@contextmanager
def faults(s3, *faults):
    s3.set_faults(*faults)
    yield
    s3.set_faults()


REFUSALS = {
    "status 500": (Fault("status", value=500), "HTTP 500"),
    "status 503": (Fault("status", value=503), "HTTP 503"),
    "status 403": (Fault("status", value=403), "HTTP 403"),
    "drop": (Fault("drop"), "the answer broke off"),
    "a 404 of a proxy": (Fault("proxy"), "HTTP 404"),
}


@pytest.mark.parametrize(("fault", "reason"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("path", ["g2-g4", "g4-g2", "g1-g4", "g4-g1"])
def test_what_a_store_refuses_fails_by_name_and_the_others_arrive(open_rig, s3, path, fault, reason):
    rig = open_rig(path)
    fault.method = "PUT" if path.endswith("g4") else "GET"
    for _ in range(ROUNDS):
        sums = [xxh3_64_hexdigest(rig.fill(slot)) for slot in range(4)]
        fault.key = name(rig, 2)
        with faults(s3, fault):
            rig.mover.submit(job(rig, checksums=sums))
            found = reasons(rig.reports(4))
        assert found == {0: "", 1: "", 2: reason, 3: ""}
        assert loss(reason) is None, "what the store only refuses is still there"
        check_next(rig)


READS = {
    "vanished": (Fault("vanish"), "gone: no such object", "gone"),
    "wrong bytes": (Fault("wrong"), CORRUPT, CORRUPT),
    "short and called whole": (Fault("short"), f"corrupt: {SIZE // 2} of {SIZE} bytes", CORRUPT),
    "cut": (Fault("cut"), "the answer broke off", None),
}


@pytest.mark.parametrize(("fault", "reason", "lost"), READS.values(), ids=READS)
@pytest.mark.parametrize("path", ["g4-g2", "g4-g1"])
def test_what_a_store_reads_wrong_is_never_reported_good(open_rig, s3, path, fault, reason, lost):
    rig = open_rig(path)
    for _ in range(ROUNDS):
        sums = [xxh3_64_hexdigest(rig.fill(slot)) for slot in range(4)]
        fault.method, fault.key = "GET", name(rig, 2)
        with faults(s3, fault):
            rig.mover.submit(job(rig, checksums=sums))
            found = reasons(rig.reports(4))
        assert found == {0: "", 1: "", 2: reason, 3: ""}
        assert loss(reason) == lost
        check_next(rig)


@pytest.mark.parametrize("path", ["g4-g2", "g4-g1"])
def test_an_object_that_was_cut_is_found_where_nobody_knows_its_checksum(open_rig, s3, path):
    """As at one of several ranks: the length is proven all the same."""
    rig = open_rig(path)
    for slot in range(4):
        rig.fill(slot)
    s3.bucket.put(name(rig, 1), s3.bucket.get(name(rig, 1))[:-1])
    s3.bucket.put(name(rig, 2), b"")
    s3.bucket.delete(name(rig, 3))
    rig.mover.submit(job(rig))
    found = reasons(rig.reports(4))
    assert found[0] == ""
    assert found[1] == f"corrupt: {SIZE - 1} of {SIZE} bytes"
    assert found[2] == f"corrupt: 0 of {SIZE} bytes"
    assert found[3] == "gone: no such object"


def test_a_write_that_is_told_of_a_missing_object_does_not_cost_its_source(open_rig, s3):
    rig = open_rig("g2-g4")
    rig.fill(0)
    with faults(s3, Fault("missing", method="PUT")):
        rig.mover.submit(job(rig, 1))
        assert reasons(rig.reports(1)) == {0: "HTTP 404"}
    assert loss("HTTP 404") is None


def test_without_its_bucket_nothing_is_taken_for_gone(open_rig, s3, tmp_path):
    rig = open_rig("g4-g2")
    rig.fill(0)
    s3.kill()
    (tmp_path / "s3" / BUCKET).rename(tmp_path / "s3" / "other")
    s3.start()
    rig.mover.submit(job(rig, 1))
    assert reasons(rig.reports(1)) == {0: "no such bucket"}


@pytest.mark.parametrize("path", ["g2-g4", "g4-g2", "g4-g1"])
def test_a_dead_server_is_named_and_one_that_is_back_is_used(open_rig, s3, path):
    rig = open_rig(path)
    for _ in range(2):
        for slot in range(4):
            rig.fill(slot)
        s3.kill()
        rig.mover.submit(job(rig))
        assert reasons(rig.reports(4)) == dict.fromkeys(range(4), "no connection")
        s3.start()
        check_next(rig)


@pytest.mark.parametrize("path", ["g2-g4", "g4-g2"])
def test_a_server_that_is_killed_in_mid_transfer_and_comes_back(open_rig, s3, path):
    rig = open_rig(path)
    sums = [xxh3_64_hexdigest(rig.fill(slot)) for slot in range(32)]
    s3.set_faults(Fault("slow", key=name(rig, 20), value=30))
    rig.mover.submit(job(rig, 32, checksums=sums))
    s3.wait_request(f"{'PUT' if path == 'g2-g4' else 'GET'} {name(rig, 20)}")
    s3.kill()
    found = reasons(rig.reports(32))
    s3.start()
    assert found[20] == "no connection"
    for slot, reason in found.items():
        if not reason:
            assert xxh3_64_hexdigest(rig.get(slot)) == sums[slot]
    check_next(rig)


HANGS = [
    ("obstore", "g2-g4", "hang"),
    ("obstore", "g2-g4", "late"),
    ("obstore", "g4-g2", "hang"),
    ("obstore", "g4-g2", "stall"),
    # NIXL's time-outs are its own, and long
    pytest.param("nixl", "g2-g4", "hang", marks=pytest.mark.nixl),
    pytest.param("nixl", "g4-g2", "hang", marks=pytest.mark.nixl),
]


@pytest.mark.parametrize(("open_rig", "path", "kind"), HANGS, indirect=["open_rig"])
def test_what_hangs_is_in_doubt_from_its_deadline_until_the_request_is_given_up(open_rig, s3, path, kind):
    rig = open_rig(path, timeout_s=1.5)
    method = "PUT" if path == "g2-g4" else "GET"
    for slot in range(4):
        rig.fill(slot)
    s3.set_faults(Fault(kind, key=name(rig, 2), method=method))
    rig.mover.submit(job(rig, transfer="1.1"))
    s3.wait_request(f"{method} {name(rig, 2)}")
    rig.clock.ahead_us = 120_000_000
    reports = collect(rig.mover, lambda reports: any(not report.stopped for report in reports))
    (doubted,) = (report for report in reports if not report.stopped)
    assert {report.reason for report in reports} == {"deadline passed"}
    assert 2 in doubted.slots
    over = rig.reports(len(doubted.slots))
    assert {slot for report in over for slot in report.slots} == set(doubted.slots)
    assert {report.reason for report in over} <= {"deadline passed", "timed out"}
    rig.clock.ahead_us = 0
    s3.set_faults()
    check_next(rig)


def test_a_request_that_is_not_answered_in_time_is_said_to_have_timed_out(open_rig, s3):
    rig = open_rig("g4-g2", timeout_s=1.0)
    rig.fill(0)
    s3.set_faults(Fault("hang", key=name(rig, 0)))
    rig.mover.submit(job(rig, 1))
    assert reasons(rig.reports(1)) == {0: "timed out"}


def test_nobody_says_what_opens_the_store(open_rig, s3):
    with structlog.testing.capture_logs() as logs:
        rig = open_rig("g4-g2", timeout_s=1.0)
        for slot, fault in enumerate([*REFUSALS.values(), *READS.values(), (Fault("hang"), "")]):
            rig.fill(slot)
            fault[0].key, fault[0].method = name(rig, slot), "*"
            s3.set_faults(fault[0])
            rig.mover.submit(rig.job([slot], [slot]))
            rig.stores["g4"].forget([key_of(slot)])
            (report,) = rig.reports(1)
            assert SECRET not in repr(report)
        rig.stores["g4"].order.flush(30)
    assert SECRET not in repr(logs)
    s3.set_faults()
    assert not any(SECRET.encode() in s3.bucket.get(each) for each in s3.bucket.names)
