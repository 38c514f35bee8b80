"""The benchmark of the GPU does its work; its figures are not looked at."""

import pytest

import bench_gpu
import gpu_disk
import gpu_hash
import gpu_path
from support.gpu import STAND_IN


def test_the_benchmark_measures_every_shape_and_the_whole_path(driver, monkeypatch):  # noqa: ARG001 - it is skipped without one
    monkeypatch.setattr(bench_gpu, "PAGES", [16 << 10])
    monkeypatch.setattr(gpu_path, "LAYOUT", "gpt-oss-20b")
    monkeypatch.setattr(gpu_disk, "LAYOUT", "gpt-oss-20b")
    monkeypatch.setattr(gpu_hash, "SIZES", [64 << 10])
    rows = bench_gpu.run(quick=True, total_bytes=4 << 20)
    told = [row["what"] for row in rows]
    for part in (
        "device to host",
        "host to device",
        "gather kernel",
        "SM time",
        "g1 to g2",
        "g3 to g2",
        "g2 to g1",
        "hash on",
        "two hops",
    ):
        assert any(part in what for what in told)
    assert all(row["value"] > 0 for row in rows)


@pytest.mark.nixl
def test_gpudirect_storage_is_measured_beside_two_hops(driver, fake, monkeypatch, tmp_path):  # noqa: ARG001 - the stand-in needs the fake
    monkeypatch.setattr(gpu_disk, "LAYOUT", "gpt-oss-20b")
    monkeypatch.setattr(gpu_disk, "gds_flaw_of", lambda _device, _slab: "")
    monkeypatch.setattr(gpu_disk, "GDS", STAND_IN)
    rows = gpu_disk.disk_rows(driver, tmp_path, 4 << 20, 2)
    assert [row["against"] for row in rows] == ["two hops over host memory"] * 2
    assert all(row["value"] > 0 for row in rows)
