"""Which mover a machine gets, and where its jobs go."""

import gc
import sys

import pytest
import structlog.testing

from kvbm_tiers import Job, MemoryMover, NixlPosixMover, RoutedMover, ThreadMover, open_mover, preset
from kvbm_tiers.errors import NixlUnavailable
from support.movers import open_stores


@pytest.fixture
def stores(tmp_path):
    stores = open_stores(tmp_path, preset("tiny"))
    yield stores
    for store in stores.values():
        store.close()


@pytest.mark.nixl
def test_with_nixl_only_what_touches_disk_goes_there(stores):
    with structlog.testing.capture_logs() as logs:
        mover = open_mover(stores)
    assert isinstance(mover, RoutedMover)
    assert set(mover._by_path) == {("g1", "g3"), ("g3", "g1"), ("g2", "g3"), ("g3", "g2")}
    assert logs == []
    mover.close()


def test_without_nixl_threads_do_it_all_and_it_says_so(stores, monkeypatch):
    monkeypatch.setitem(sys.modules, "nixl_cu12._api", None)
    with structlog.testing.capture_logs() as logs:
        mover = open_mover(stores)
    assert isinstance(mover, ThreadMover)
    assert [(line["log_level"], "docs/nixl.md" in line["why"]) for line in logs] == [("warning", True)]
    mover.close()


def test_without_a_disk_nobody_asks_for_nixl(stores, monkeypatch):
    monkeypatch.setitem(sys.modules, "nixl_cu12._api", None)
    with structlog.testing.capture_logs() as logs:
        mover = open_mover({"g1": stores["g1"], "g2": stores["g2"]})
    assert logs == []
    mover.close()


class Named(MemoryMover):
    """Notes what it is told."""

    def __init__(self):
        super().__init__({"g1": 2, "g2": 2, "g3": 2})
        self.told = []

    def submit(self, job):
        self.told.append(job.transfer)
        super().submit(job)

    def cancel(self, transfer):
        self.told.append(f"cancel {transfer}")

    def close(self):
        self.told.append("close")


def job(transfer, source, tier):
    return Job(
        transfer=transfer,
        source=source,
        tier=tier,
        source_slots=[0],
        slots=[0],
        keys=["0" * 32],
        deadline_us=1 << 60,
    )


def test_each_job_goes_to_the_mover_of_its_path_and_all_are_polled_cancelled_and_closed():
    disk, rest = Named(), Named()
    mover = RoutedMover({("g2", "g3"): disk, ("g3", "g2"): disk}, otherwise=rest)
    mover.submit(job("1.1", "g2", "g3"))
    mover.submit(job("1.2", "g1", "g2"))
    mover.submit(job("1.3", "g3", "g2"))
    assert sorted(report.transfer for report in mover.poll()) == ["1.1", "1.2", "1.3"]
    mover.cancel("1.1")
    mover.close()
    assert disk.told == ["1.1", "1.3", "cancel 1.1", "close"]
    assert rest.told == ["1.2", "cancel 1.1", "close"]


def test_what_could_not_start_holds_no_store(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nixl_cu12._api", None)
    stores = open_stores(tmp_path, preset("tiny"))
    gc.disable()
    try:
        with pytest.raises(NixlUnavailable):
            NixlPosixMover(stores)
        for store in stores.values():
            store.close()
        for store in open_stores(tmp_path, preset("tiny")).values():
            store.close()
    finally:
        gc.enable()
