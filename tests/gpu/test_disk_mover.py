"""Blocks between a device and a disk that do not pass host memory: in place and staged, in order, and where things go wrong."""

import threading
import time
from random import Random

import pytest
import structlog.testing
from xxhash import xxh3_64_hexdigest

from kvbm_kernels.errors import CudaFailed
from kvbm_tiers import DiskSlab, open_mover, routed_mover
from kvbm_tiers.agent_thread import LANES
from kvbm_tiers.cuda import CudaDevice, NixlDeviceMover
from kvbm_tiers.cuda.gds_probe import round_trip
from kvbm_tiers.layout import Group, Layout
from kvbm_tiers.memory import anonymous
from kvbm_tiers.mover import CORRUPT, Job
from kvbm_tiers.nixl_agent import NixlAgent
from kvbm_tiers.presets import preset
from support.fake_cuda import ILLEGAL_ADDRESS, OUT_OF_MEMORY
from support.gpu import STAND_IN
from support.movers import Rig, collect

pytestmark = pytest.mark.nixl
TINY = preset("tiny")
WHOLE = Layout(groups=(Group(name="a", layers=2, tokens=16, heads=4, head_size=64, arrangement="contiguous"),))
APART = Layout(groups=(Group(name="a", layers=2, tokens=16, heads=4, head_size=64),))
ODD = Layout(groups=(Group(name="a", layers=1, tokens=16, heads=4, head_size=65, arrangement="contiguous"),))
CAPACITY = 64


@pytest.fixture
def open_rig(driver, tmp_path):  # noqa: ARG001 - skipped for by now; what is left on a fake device is found
    rigs = []

    def make(way="g1-g3", layout=TINY, kind="posix"):
        rigs.append(Rig(f"gds {kind} {way}", tmp_path, layout))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def test_only_blocks_of_whole_pages_in_one_piece_go_from_and_to_their_slots(driver):
    for layout, is_whole in ((WHOLE, True), (APART, False), (ODD, False), (TINY, False)):
        device = CudaDevice(driver, layout, 3)
        assert bool(device.pool.whole(0)) == is_whole
        if is_whole:
            assert [device.pool.whole(at) - device.arrays[0].address for at in range(3)] == [
                at * layout.block_bytes for at in range(3)
            ]
        device.close()


@pytest.mark.parametrize("kind", ["posix", "vram"])
@pytest.mark.parametrize("layout", [WHOLE, APART, ODD], ids=["whole", "apart", "odd"])
def test_blocks_go_to_disk_and_come_back_and_no_other_slot_changes(open_rig, layout, kind):
    down = open_rig(layout=layout, kind=kind)
    data = {slot: down.fill(slot) for slot in range(CAPACITY)}
    order = Random(1).sample(range(CAPACITY), 40)
    down.mover.submit(down.job(order, range(40)))
    assert {report.reason for report in down.reports(40)} == {""}
    assert [down.get(at) for at in range(40)] == [data[slot] for slot in order]
    down.tier, down.source = down.source, down.tier
    down.mover.submit(down.job([3, 7], [9, 11], checksums=[xxh3_64_hexdigest(data[order[3]]), ""]))
    assert {report.reason for report in down.reports(2)} == {""}
    want = data | {9: data[order[3]], 11: data[order[7]]}
    assert {slot: down.get(slot) for slot in range(CAPACITY)} == want


def test_a_corrupt_block_is_not_scattered_over_the_pool(open_rig):
    rig = open_rig("g3-g1")
    before = bytes([9]) * TINY.block_bytes
    rig.put(3, before, "g1")
    rig.fill(1)
    rig.mover.submit(rig.job([1], [3], checksums=["0" * 16]))
    assert rig.reports(1)[0].reason == CORRUPT
    assert rig.get(3) == before


@pytest.mark.parametrize("way", ["g1-g3", "g3-g1"])
@pytest.mark.parametrize("call", ["cuLaunchKernel", "cuMemcpyAsync", "cuEventRecord", "cuEventSynchronize"])
def test_a_batch_that_the_driver_refuses_has_failed_and_stopped_and_the_next_one_arrives(fake, open_rig, way, call):
    rig = open_rig(way)
    data = [rig.fill(slot) for slot in (1, 2)]
    fake.fail(call, ILLEGAL_ADDRESS)
    rig.mover.submit(rig.job([1, 2], [3, 4]))
    (report,) = rig.reports(2)
    assert report.stopped
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in report.reason
    rig.mover.submit(rig.job([1, 2], [3, 4]))
    assert not rig.reports(2)[0].reason
    assert [rig.get(3), rig.get(4)] == data


def await_waiting(fake):
    """Until somebody waits for the device."""
    give_up_at_s = time.monotonic() + 30
    while not fake.waiting:
        assert time.monotonic() < give_up_at_s, "nobody waited"
        time.sleep(0.0005)


@pytest.mark.parametrize("layout", [WHOLE, APART], ids=["whole", "apart"])
def test_a_block_is_read_after_the_computation_that_wrote_it(driver, fake, stream, tmp_path, layout):
    device = CudaDevice(driver, layout, 4, compute_stream=stream)
    slab = DiskSlab(tmp_path / "slab", namespace="m=1", layout=layout, capacity=4)
    mover, shape = NixlDeviceMover({"g1": device, "g3": slab}, plugin=STAND_IN), layout.arrays(4)
    with fake.held():
        for array, part in zip(device.arrays, shape, strict=True):
            fake.write(stream, array.address, 0x5A, part.size)
        mover.submit(job(source="g1", tier="g3", source_slots=[1], slots=[2]))
        await_waiting(fake)
    assert not collect(mover, len)[0].reason
    slab.read(2, read := anonymous(layout.slot_bytes))
    assert set(bytes(read[: layout.block_bytes])) == {0x5A}
    driver.await_stream(stream)
    mover.close()
    slab.close()
    device.close()


@pytest.mark.parametrize("layout", [WHOLE, APART], ids=["whole", "apart"])
def test_a_slot_is_written_after_the_computation_that_still_uses_it(driver, fake, stream, tmp_path, layout):
    device = CudaDevice(driver, layout, 4, compute_stream=stream)
    slab = DiskSlab(tmp_path / "slab", namespace="m=1", layout=layout, capacity=4)
    block = anonymous(layout.slot_bytes)
    block[:] = bytes([7]) * len(block)
    slab.write(2, block)
    mover, shape = NixlDeviceMover({"g1": device, "g3": slab}, plugin=STAND_IN), layout.arrays(4)
    done = threading.Event()
    mover.watch(done.set)
    with fake.held():
        for array, part in zip(device.arrays, shape, strict=True):
            fake.write(stream, array.address, 0x5A, part.size)
        mover.submit(job(source="g3", tier="g1", source_slots=[2], slots=[1]))
        await_waiting(fake)
        assert not done.is_set()
    assert not collect(mover, len)[0].reason
    driver.await_stream(stream)
    device.read(1, read := anonymous(layout.slot_bytes))
    assert set(bytes(read[: layout.block_bytes])) == {7}
    mover.close()
    slab.close()
    device.close()


def job(**fields):
    return Job(transfer="1.1", keys=["0" * 32], deadline_us=1 << 62, **fields)


def test_a_mover_that_could_not_start_leaves_nothing(driver, fake, tmp_path):
    device = CudaDevice(driver, TINY, 4)
    slab = DiskSlab(tmp_path / "slab", namespace="m=1", layout=TINY, capacity=4)
    for call in ("cuMemAlloc_v2", "cuMemHostRegister_v2", "cuEventCreate", "cuStreamCreateWithPriority"):
        fake.fail(call, OUT_OF_MEMORY)
        with pytest.raises(CudaFailed):
            NixlDeviceMover({"g1": device, "g3": slab}, plugin=STAND_IN)
    slab.close()
    device.close()


def test_blocks_that_are_too_short_to_be_hashed_are_refused(driver, tmp_path):
    short = Layout(groups=(Group(name="a", layers=1, tokens=1, heads=1, head_size=32),))
    device = CudaDevice(driver, short, 4)
    slab = DiskSlab(tmp_path / "slab", namespace="m=1", layout=short, capacity=4)
    with pytest.raises(ValueError, match="less than 241 bytes"):
        NixlDeviceMover({"g1": device, "g3": slab}, plugin=STAND_IN)
    slab.close()
    device.close()


def test_a_transfer_that_does_not_end_keeps_the_device_memory(fake, open_rig, monkeypatch):
    rig = open_rig()
    gate, asked, is_over = threading.Event(), threading.Event(), NixlAgent.is_over

    def see(agent, handle):
        asked.set()
        return gate.is_set() and is_over(agent, handle)

    monkeypatch.setattr(NixlAgent, "is_over", see)
    rig.fill(1)
    rig.mover._patience_s = 0.1
    rig.mover.submit(rig.job([1], [1]))
    assert asked.wait(30)
    before, kept, device = fake.allocations, [], rig.stores["g1"]
    monkeypatch.setattr(device, "leave", lambda: kept.append(device._taken.pop_all()))
    rig.mover.close()
    device.close()
    assert fake.allocations == before
    gate.set()
    rig.mover._close_bays()
    kept[0].close()
    monkeypatch.setattr(rig.mover, "close", lambda: None)


def test_when_all_lanes_hang_another_agent_with_bays_of_its_own_takes_over(fake, open_rig, monkeypatch):  # noqa: ARG001 - the stand-in needs the fake
    rig = open_rig()
    gate, agents, is_over = threading.Event(), [], NixlAgent.is_over

    def see(agent, handle):
        if agent not in agents:
            agents.append(agent)
        return (gate.is_set() or agent is not agents[0]) and is_over(agent, handle)

    monkeypatch.setattr(NixlAgent, "is_over", see)
    rig.mover._hang_s = 0.2
    data = [rig.fill(slot) for slot in range(LANES + 1)]
    for slot in range(LANES + 1):
        rig.mover.submit(rig.job([slot], [slot], transfer=f"1.{slot}"))
    with structlog.testing.capture_logs() as logs:
        (report,) = rig.reports(1)
    assert (report.transfer, report.reason) == (f"1.{LANES}", "")
    assert rig.get(LANES) == data[LANES]
    assert [(line["log_level"], line["agents"]) for line in logs] == [("error", 1)]
    gate.set()
    assert {report.transfer for report in rig.reports(LANES)} == {f"1.{slot}" for slot in range(LANES)}
    assert len(agents) == 2


def test_the_probes_bytes_go_to_disk_and_back(driver, fake, tmp_path, monkeypatch):  # noqa: ARG001 - the stand-in needs the fake
    assert round_trip(driver, tmp_path, STAND_IN) == ""
    assert list(tmp_path.iterdir()) == []
    post = NixlAgent.post
    monkeypatch.setattr(
        NixlAgent,
        "post",
        lambda agent, operation, *rows: post(agent, "READ" if operation == "WRITE" else "WRITE", *rows),
    )
    assert "is not what was there" in round_trip(driver, tmp_path, STAND_IN)


@pytest.mark.parametrize("flaw", ["", "there is none"])
def test_a_plan_gets_it_where_the_machine_has_it_and_that_is_said_once(driver, fake, tmp_path, monkeypatch, flaw):  # noqa: ARG001 - the stand-in needs the fake
    stores = {
        "g1": CudaDevice(driver, TINY, 4),
        "g3": DiskSlab(tmp_path / "slab", namespace="m=1", layout=TINY, capacity=4),
    }
    monkeypatch.setattr(routed_mover, "gds_flaw_of", lambda _device, _slab: flaw)
    monkeypatch.setattr(
        routed_mover, "NixlDeviceMover", lambda stores, now_us: NixlDeviceMover(stores, plugin=STAND_IN, now_us=now_us)
    )
    with structlog.testing.capture_logs() as logs:
        mover = open_mover(stores)
    chosen = mover._by_path["g1", "g3"]
    assert isinstance(chosen, NixlDeviceMover) == (not flaw)
    assert mover._by_path["g3", "g1"] is chosen
    said = [(line["event"], line.get("why", "")) for line in logs if "device and disk" in line["event"]]
    assert said == [
        ("blocks go between device and disk " + ("over host memory" if flaw else "by GPUDirect Storage"), flaw)
    ]
    mover.close()
    for store in stores.values():
        store.close()
