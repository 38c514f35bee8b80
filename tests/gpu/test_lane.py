"""Blocks between a pool and host memory, every way, every layout; and that no copy is ahead of the computation it follows."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import get_args

import pytest
import structlog.testing

from kvbm_kernels.errors import CudaFailed
from kvbm_tiers.cpu_device import CpuDevice
from kvbm_tiers.cuda import CudaDevice, Lane, Way, calibrate
from kvbm_tiers.cuda.calibrate import fastest
from kvbm_tiers.layout import Group, Layout
from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.presets import preset

CAPACITY = 9
LAYOUTS = {
    "tiny": preset("tiny"),
    "universal": Layout(groups=preset("tiny").groups, packing="universal"),
    "small pages": Layout(groups=(Group(name="a", layers=3, tokens=16, heads=2, head_size=64),)),
    "one piece": Layout(
        groups=(Group(name="a", layers=9, tokens=16, heads=4, head_size=128, arrangement="contiguous"),)
    ),
    "odd": Layout(groups=(Group(name="a", layers=2, tokens=3, heads=5, head_size=7, dtype="int8"),)),
}
WAYS = get_args(Way)


@pytest.fixture
def twin(driver, stream):
    """A pool on the device and the same one in host memory, filled with the same bytes of chance."""
    made = []

    def make(layout, **more):
        device, host = CudaDevice(driver, layout, CAPACITY, **more), CpuDevice(layout, CAPACITY)
        made.append(device)
        for number, (there, here) in enumerate(zip(device.arrays, host.arrays, strict=True)):
            here[:] = Random(number).randbytes(len(here))
            driver.copy([there.address], [address_of(here)], [len(here)], stream, in_order=True)
        driver.await_stream(stream)
        return device, host

    yield make
    for device in made:
        device.close()


def block_of(host, slot):
    block = anonymous(host.layout.slot_bytes)
    host.read(slot, block)
    return bytes(block[: host.layout.block_bytes])


def skip_unless_plain(device, way):
    if way == "copies" and not device.pool.is_plain:
        pytest.skip("a block in rows cannot go without a kernel")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_come_down_as_they_are_on_the_device(twin, pinned, name, way):
    layout = LAYOUTS[name]
    device, host = twin(layout)
    skip_unless_plain(device, way)
    slots, memory = [7, 0, 3, 8], pinned(4 * layout.slot_bytes)
    lane = Lane(device.pool, 4)
    lane.down(slots, [address_of(memory) + at * layout.slot_bytes for at in range(4)], way)
    lane.close()
    for at, slot in enumerate(slots):
        start = at * layout.slot_bytes
        assert bytes(memory[start : start + layout.block_bytes]) == block_of(host, slot)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_go_up_to_their_slots_and_nowhere_else(twin, driver, stream, pinned, name, way):
    layout = LAYOUTS[name]
    device, host = twin(layout)
    skip_unless_plain(device, way)
    slots, memory = [2, 8, 5], pinned(3 * layout.slot_bytes)
    memory[:] = Random(way).randbytes(len(memory))
    for at, slot in enumerate(slots):
        host.write(slot, memory[at * layout.slot_bytes : (at + 1) * layout.slot_bytes])
    lane = Lane(device.pool, 3)
    lane.up(slots, [address_of(memory) + at * layout.slot_bytes for at in range(3)], way)
    lane.close()
    for there, here in zip(device.arrays, host.arrays, strict=True):
        found = pinned(len(here))
        driver.copy([address_of(found)], [there.address], [len(here)], stream, in_order=True)
        driver.await_stream(stream)
        assert bytes(found) == bytes(here)


def await_waiting(fake, thread):
    """Until the thread has given all its work to the device, and waits for it."""
    while not fake.waiting:
        assert thread.is_alive(), "it did not wait"
        time.sleep(0.0005)


@pytest.mark.parametrize("way", WAYS)
def test_a_block_is_read_after_the_computation_that_wrote_it(twin, fake, stream, pinned, way):
    layout = LAYOUTS["small pages"]
    device, _ = twin(layout, compute_stream=stream)
    memory = pinned(layout.slot_bytes)
    lane = Lane(device.pool, 1)
    with fake.held():
        for array, shape in zip(device.arrays, layout.arrays(CAPACITY), strict=True):
            fake.write(stream, array.address, 0x5A, shape.size)
        after = device.mark()
        down = threading.Thread(target=lane.down, args=([4], [address_of(memory)], way), kwargs={"after": after})
        down.start()
        await_waiting(fake, down)
    down.join()
    lane.close()
    assert set(bytes(memory[: layout.block_bytes])) == {0x5A}


@pytest.mark.parametrize("way", WAYS)
def test_a_block_is_written_after_the_computation_that_still_uses_its_slot(twin, driver, fake, stream, pinned, way):
    layout = LAYOUTS["small pages"]
    device, _ = twin(layout, compute_stream=stream)
    memory = pinned(layout.slot_bytes)
    memory[:] = bytes([7]) * len(memory)
    lane = Lane(device.pool, 1)
    with fake.held():
        for array, shape in zip(device.arrays, layout.arrays(CAPACITY), strict=True):
            fake.write(stream, array.address, 0x5A, shape.size)
        after = device.mark()
        up = threading.Thread(target=lane.up, args=([4], [address_of(memory)], way), kwargs={"after": after})
        up.start()
        await_waiting(fake, up)
    up.join()
    lane.down([4], [address_of(memory)], "staged")
    lane.close()
    driver.await_stream(stream)
    assert set(bytes(memory[: layout.block_bytes])) == {7}


@pytest.mark.parametrize("way", WAYS)
def test_what_began_before_a_failure_has_ended_when_the_failure_is_told(twin, fake, pinned, way):
    layout = LAYOUTS["small pages"]
    device, _ = twin(layout)
    memory = pinned(layout.slot_bytes)
    lane, failures = Lane(device.pool, 1), []

    def down():
        try:
            lane.down([4], [address_of(memory)], way)
        except CudaFailed as failure:
            failures.append(failure)

    fake.fail("cuEventRecord", 999)
    with fake.held():
        thread = threading.Thread(target=down)
        thread.start()
        await_waiting(fake, thread)
    thread.join()
    lane.close()
    assert [failure.what for failure in failures] == ["cuEventRecord failed"]


def test_a_lane_that_could_not_be_made_leaves_nothing(twin, fake):
    device, _ = twin(LAYOUTS["tiny"])
    for call in ("cuMemAlloc_v2", "cuEventCreate", "cuStreamCreateWithPriority"):
        fake.fail(call, 2)
        with pytest.raises(CudaFailed):
            Lane(device.pool, 4)


@pytest.mark.parametrize("name", ["tiny", "universal"])
def test_calibration_finds_a_way_for_each_direction_and_leaves_nothing(driver, fake, name):  # noqa: ARG001 - leaks are the fake's to find
    ways = calibrate(driver, LAYOUTS[name])
    assert set(ways) <= set(WAYS) - ({"copies"} if name == "universal" else set())


def test_the_way_that_is_fastest_by_the_clock_is_taken_and_logged_with_the_rate_of_each(driver):
    paces = [3.0] * 5 + [1.0] * 5 + [2.0] * 5  # copies, staged, mapped
    times = iter([t for _ in range(2) for pace in paces for t in (0.0, pace)])
    with structlog.testing.capture_logs() as logs:
        assert calibrate(driver, LAYOUTS["tiny"], now_s=lambda: next(times)) == ("staged", "staged")
    (line,) = logs
    assert (line["down"], line["up"], line["device"]) == ("staged", "staged", driver.name)
    for rates in (line["down_gb_per_s"], line["up_gb_per_s"]):
        assert set(rates) == set(WAYS)


def test_a_kernel_on_host_memory_must_be_faster_by_a_tenth():
    assert fastest({"copies": 10.0, "mapped": 10.9}) == "copies"
    assert fastest({"copies": 10.0, "mapped": 11.1}) == "mapped"
    assert fastest({"copies": 10.0, "staged": 10.1}) == "staged"
