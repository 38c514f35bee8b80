"""The driver's functions as they are used: each on the device, and what it says when it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvbm_kernels import nvrtc
from kvbm_kernels.driver import Driver
from kvbm_kernels.errors import CudaFailed, CudaUnavailable
from kvbm_tiers.memory import address_of
from support.fake_cuda import ILLEGAL_ADDRESS, OUT_OF_MEMORY

TESTS = Path(__file__).parents[1]


def test_the_device_is_described(driver):
    assert driver.name
    assert driver.architecture.startswith("sm_")
    assert driver.multiprocessors >= 1
    assert len(driver.uuid) == 32
    assert {kernel: 16 <= driver.registers(kernel) <= 128 for kernel in nvrtc.KERNELS} == dict.fromkeys(
        nvrtc.KERNELS, True
    )


def test_a_device_that_is_not_there_is_refused(driver):  # noqa: ARG001 - there is one, but not so many
    with pytest.raises(CudaUnavailable, match="counted from 0"):
        Driver(99)


@pytest.mark.parametrize("count", [1, 2, 300])
@pytest.mark.parametrize("in_order", [True, False])
def test_bytes_go_to_the_device_and_back(driver, stream, device_memory, pinned, count, in_order):
    host, back, there = pinned(count * 64), pinned(count * 64), device_memory(count * 64)
    host[:] = os.urandom(count * 64)
    places = [(at * 7 % count if count % 7 else at) * 64 for at in range(count)]
    down, up = address_of(back), address_of(host)
    driver.copy([there + p for p in places], [up + p for p in places], [64] * count, stream, in_order=in_order)
    driver.copy([down + p for p in places], [there + p for p in places], [64] * count, stream, in_order=True)
    driver.await_stream(stream)
    assert bytes(back) == bytes(host)


def test_without_batches_copies_are_given_one_by_one(driver, stream, device_memory, pinned, monkeypatch, peek):
    monkeypatch.setattr(driver, "_batch", None)
    host, there = pinned(128), device_memory(128)
    host[:] = bytes(range(128))
    driver.copy([there, there + 64], [address_of(host), address_of(host) + 64], [64, 64], stream, in_order=True)
    assert not driver.has_batches
    assert peek(there, 128) == bytes(range(128))


def test_what_is_uploaded_is_there(driver, device_memory, peek):
    there = device_memory(64)
    driver.upload(there, b"x" * 64)
    assert peek(there, 64) == b"x" * 64


def test_an_address_is_found_in_its_allocation(driver, device_memory):
    there = device_memory(1 << 16)
    assert driver.extent(there + 100).address <= there
    assert driver.extent(there + 100).size >= 1 << 16
    with pytest.raises(CudaFailed, match="cuMemGetAddressRange failed: CUDA_ERROR"):
        driver.extent(1 << 40)


def test_timed_events_tell_how_long_something_took(driver, stream):
    start, end = driver.make_event(timed=True), driver.make_event(timed=True)
    driver.record(start, stream)
    driver.record(end, stream)
    driver.await_event(end)
    assert driver.elapsed_s(start, end) >= 0
    driver.destroy_event(start)
    driver.destroy_event(end)


def test_a_refusal_is_an_error_with_the_drivers_word(driver):
    with pytest.raises(CudaFailed) as refusal:
        driver.free(12345)
    assert refusal.value.code.startswith("CUDA_ERROR")


def test_a_process_cannot_open_what_it_exported_itself(driver, device_memory):
    handle = driver.export(device_memory(4096))
    with pytest.raises(CudaFailed, match="cuIpcOpenMemHandle"):
        driver.open_export(handle)


def test_another_process_opens_an_allocation_and_writes_to_it(driver, device_memory, peek):
    there = device_memory(1 << 21)
    code = """
import sys
from support.gpu import gpu_driver
driver = gpu_driver()
there = driver.open_export(bytes.fromhex(sys.argv[1]))
driver.upload(there + 128, b"hello")
driver.close_export(there)
"""
    paths = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    command = [sys.executable, "-c", code, driver.export(there).hex()]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": paths}, timeout=120)
    assert peek(there + 128, 5) == b"hello"


def test_a_failure_in_a_stream_is_told_by_whoever_waits(driver, fake, stream):
    fake.fail("cuStreamSynchronize", ILLEGAL_ADDRESS)
    with pytest.raises(CudaFailed):
        driver.await_stream(stream)
    fake.recover()


def test_no_room_is_an_error(driver, fake):
    fake.fail("cuMemAlloc_v2", OUT_OF_MEMORY)
    with pytest.raises(CudaFailed, match="cuMemAlloc"):
        driver.allocate(4096)
