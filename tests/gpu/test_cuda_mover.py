"""The mover of the GPU where things go wrong, and with the other movers of a plan."""

from random import Random

import pytest
import structlog.testing

from kvbm_kernels.errors import CudaFailed
from kvbm_tiers import CpuDevice, DiskSlab, HostArena, RoutedMover, ThreadMover, open_mover
from kvbm_tiers.cuda import CudaDevice, CudaMover, Ways
from kvbm_tiers.memory import anonymous
from kvbm_tiers.mover import Job
from kvbm_tiers.presets import preset
from support.fake_cuda import ILLEGAL_ADDRESS, OUT_OF_MEMORY
from support.movers import Rig, collect

TINY = preset("tiny")
STAGED = Ways("staged", "staged")


@pytest.fixture
def rig(driver, tmp_path):  # noqa: ARG001 - the rig's own, skipped for by now
    rig = Rig("cuda staged g1-g2", tmp_path, TINY)
    yield rig
    rig.close()


@pytest.mark.parametrize("call", ["cuLaunchKernel", "cuMemcpyBatchAsync_v2", "cuEventRecord", "cuEventSynchronize"])
def test_a_batch_that_the_driver_refuses_has_failed_and_stopped_and_the_next_one_arrives(fake, rig, call):
    rig.fill(0)
    data = [rig.fill(slot) for slot in (1, 2)]
    fake.fail(call, ILLEGAL_ADDRESS)
    rig.mover.submit(rig.job([1, 2], [3, 4]))
    (report,) = rig.reports(2)
    assert report.stopped
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in report.reason
    rig.mover.submit(rig.job([1, 2], [3, 4]))
    assert not rig.reports(2)[0].reason
    assert [rig.get(3), rig.get(4)] == data


def test_a_corrupt_block_is_not_written_to_the_device(driver, tmp_path):  # noqa: ARG001 - the rig's own
    rig = Rig("cuda staged g2-g1", tmp_path, TINY)
    before = bytes([9]) * TINY.block_bytes
    rig.put(3, before, "g1")
    rig.fill(1)
    rig.mover.submit(rig.job([1], [3], checksums=["0" * 16]))
    assert rig.reports(1)[0].reason == "corrupt"
    assert rig.get(3) == before
    rig.close()


def test_a_mark_that_fails_is_the_jobs_failure(driver, fake, stream, tmp_path):
    device = CudaDevice(driver, TINY, 4, compute_stream=stream)
    arena = HostArena(tmp_path / "arena", namespace="m=1", layout=TINY, capacity=4)
    mover = CudaMover({"g1": device, "g2": arena}, ways=STAGED)
    fake.fail("cuEventRecord", ILLEGAL_ADDRESS)
    mover.submit(job("g1", "g2"))
    (report,) = mover.poll()
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in report.reason
    mover.submit(job("g1", "g2"))
    assert not collect(mover, len)[0].reason
    mover.close()
    arena.close()
    device.close()


def job(source, tier, **more):
    fields = {"transfer": f"1.{source}{tier}", "source": source, "tier": tier, "source_slots": [1], "slots": [2]}
    return Job(**(fields | {"keys": ["0" * 32], "deadline_us": 1 << 62} | more))


def test_a_mover_that_could_not_start_leaves_nothing(driver, fake, tmp_path):
    device = CudaDevice(driver, TINY, 4)
    arena = HostArena(tmp_path / "arena", namespace="m=1", layout=TINY, capacity=4)
    for call in ("cuMemHostRegister_v2", "cuMemAlloc_v2", "cuStreamCreateWithPriority"):
        fake.fail(call, OUT_OF_MEMORY)
        with pytest.raises(CudaFailed):
            CudaMover({"g1": device, "g2": arena}, ways=STAGED)
    arena.close()
    device.close()


def test_a_mover_has_one_device_and_one_arena(tmp_path):
    arena = HostArena(tmp_path / "arena", namespace="m=1", layout=TINY, capacity=4)
    with pytest.raises(ValueError, match="0 stores are a CudaDevice"):
        CudaMover({"g1": CpuDevice(TINY, 4), "g2": arena})
    arena.close()


@pytest.fixture
def plan(driver, tmp_path):
    stores = {
        "g1": CudaDevice(driver, TINY, 8),
        "g2": HostArena(tmp_path / "arena", namespace="m=1", layout=TINY, capacity=8),
        "g3": DiskSlab(tmp_path / "slab", namespace="m=1", layout=TINY, capacity=8),
    }
    yield stores
    for store in stores.values():
        store.close()


def test_a_block_goes_all_the_way_down_and_up_again_bit_for_bit(plan):
    mover, data = open_mover(plan), anonymous(TINY.slot_bytes)
    assert isinstance(mover, RoutedMover)
    data[:] = Random(1).randbytes(len(data))
    plan["g1"].write(1, data)
    sums = ""
    for number, (source, tier, slots) in enumerate(
        [
            ("g1", "g2", (1, 2)),
            ("g2", "g3", (2, 3)),
            ("g3", "g2", (3, 4)),
            ("g2", "g1", (4, 5)),
            ("g1", "g3", (5, 6)),
            ("g3", "g1", (6, 7)),
        ]
    ):
        checksums = [sums] if sums else []
        more = {"source_slots": [slots[0]], "slots": [slots[1]], "checksums": checksums, "transfer": f"1.{number}"}
        mover.submit(job(source, tier, **more))
        (report,) = collect(mover, len)
        assert not report.reason, report
        sums = report.checksums
    mover.close()
    plan["g1"].read(7, read := anonymous(TINY.slot_bytes))
    assert bytes(read[: TINY.block_bytes]) == bytes(data[: TINY.block_bytes])


def test_where_memory_cannot_be_pinned_blocks_go_all_the_same_and_that_is_said(plan, fake):
    fake.fail("cuMemHostRegister_v2", 801)
    with structlog.testing.capture_logs() as logs:
        mover = open_mover({tier: plan[tier] for tier in ("g1", "g2")})
    assert isinstance(mover, ThreadMover)
    assert "not pinned" in logs[0]["event"]
    mover.submit(job("g1", "g2"))
    assert not collect(mover, len)[0].reason
    mover.close()
