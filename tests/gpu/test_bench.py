"""The benchmark of the GPU does its work; its figures are not looked at."""

import bench_gpu
import gpu_path


def test_the_benchmark_measures_every_shape_and_the_whole_path(driver, monkeypatch):  # noqa: ARG001 - it is skipped without one
    monkeypatch.setattr(bench_gpu, "PAGES", [16 << 10])
    monkeypatch.setattr(gpu_path, "LAYOUT", "gpt-oss-20b")
    rows = bench_gpu.run(quick=True, total_bytes=4 << 20)
    told = [row["what"] for row in rows]
    for part in ("device to host", "host to device", "gather kernel", "SM time", "g1 to g2", "g3 to g2", "g2 to g1"):
        assert any(part in what for what in told)
    assert all(row["value"] > 0 for row in rows)
