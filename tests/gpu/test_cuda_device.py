"""The device tier as a store; an engine's memory adopted, and shared with a worker in another process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import msgspec
import pytest
import structlog.testing

from kvbm_events.schema.errors import InvalidCommand, NamespaceMismatch
from kvbm_kernels.errors import CudaFailed, CudaUnavailable
from kvbm_tiers.cuda import CudaDevice, Tensor, adopt, open_shared, share
from kvbm_tiers.layout import Layout
from kvbm_tiers.medium import Medium
from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.openers import Wanted, open_store
from kvbm_tiers.presets import preset
from support.fake_cuda import ILLEGAL_ADDRESS

TESTS = Path(__file__).parents[1]
TINY = preset("tiny")


def block(data=b""):
    view = anonymous(TINY.slot_bytes)
    view[: len(data)] = data
    return view


@pytest.fixture
def device(driver):
    device = CudaDevice(driver, TINY, 6)
    yield device
    device.close()


def test_what_is_written_is_read(device):
    written = {slot: Random(slot).randbytes(TINY.block_bytes) for slot in (5, 0, 3)}
    for slot, data in written.items():
        device.write(slot, block(data))
    device.sync()
    for slot, data in written.items():
        device.read(slot, read := block())
        assert bytes(read[: TINY.block_bytes]) == data


@pytest.mark.parametrize("slot", [-1, 6])
def test_a_slot_outside_is_refused(device, slot):
    for act in (device.read, device.write):
        with pytest.raises(IndexError, match="of a store of 6"):
            act(slot, block())
    with pytest.raises(IndexError):
        device.view(slot)


def test_a_block_that_is_too_short_is_refused(device):
    with pytest.raises(ValueError, match="a block has"):
        device.read(0, anonymous(8))


def test_a_closed_device_moves_nothing_and_closing_again_is_nothing(driver):
    device = CudaDevice(driver, TINY, 6)
    device.close()
    device.close()
    with pytest.raises(IndexError):
        device.read(0, block())


def test_a_device_whose_driver_takes_nothing_back_is_closed_all_the_same(driver, fake):
    device = CudaDevice(driver, TINY, 6)
    fake.fail("cuEventDestroy_v2", ILLEGAL_ADDRESS)
    with structlog.testing.capture_logs() as logs:
        device.close()
    assert "does not take back" in logs[0]["event"]


def test_a_device_that_could_not_be_made_leaves_nothing(driver, fake):
    for allocations in range(8):
        for _ in range(allocations):
            fake.fail("cuMemAlloc_v2", 0)
        fake.fail("cuEventCreate", 2)
        with pytest.raises(CudaFailed):
            CudaDevice(driver, TINY, 6)


def test_pinned_memory_takes_blocks_until_the_device_is_closed(driver):
    device, memory = CudaDevice(driver, TINY, 6), block(b"x" * TINY.block_bytes)
    device.pin(memory)
    device.write(1, memory)
    assert driver.mapped(address_of(memory))
    device.close()
    with pytest.raises(CudaFailed):
        driver.mapped(address_of(memory))


def test_memory_that_cannot_be_pinned_takes_blocks_too_and_that_is_said(device, fake):
    memory = block(b"y" * TINY.block_bytes)
    fake.fail("cuMemHostRegister_v2", 801)
    with structlog.testing.capture_logs() as logs:
        device.pin(memory)
    assert "not pinned" in logs[0]["event"]
    device.write(1, memory)
    device.read(1, read := block())
    assert bytes(read) == bytes(memory)


def test_an_engines_memory_is_used_in_place(driver, device_memory, peek):
    tensors = [
        Tensor(device_memory(array.size), array.shape, array.strides, array.strides[-1], 0) for array in TINY.arrays(6)
    ]
    device = CudaDevice(driver, TINY, 6, adopt(TINY, 6, tensors), owner=tensors)
    data = Random(1).randbytes(TINY.block_bytes)
    device.write(2, block(data))
    found = b"".join(peek(tensor.address, array.size) for tensor, array in zip(tensors, TINY.arrays(6), strict=True))
    assert sum(map(bool, found)) >= sum(map(bool, data))
    device.close()
    peek(tensors[0].address, 1)  # an engine's memory is not given back


def test_another_process_moves_the_blocks_of_a_shared_pool(driver, device, tmp_path):
    data = Random(2).randbytes(TINY.block_bytes)
    device.write(4, block(data))
    (tmp_path / "pool").write_bytes(share(device))
    code = """
import sys
from pathlib import Path
from kvbm_tiers.medium import Medium
from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.openers import Wanted, open_store
from kvbm_tiers.presets import preset
from support.fake_cuda import ILLEGAL_ADDRESS
from support.gpu import gpu_driver
gpu_driver()
tiny = preset("tiny")
medium = Medium.parse(f"cuda:{sys.argv[1]}")
device, _ = open_store(Wanted(tier="g1", medium=medium, capacity=6, layout=tiny, namespace="m=1", reset=False, instance="i"))
block = anonymous(tiny.slot_bytes)
device.read(4, block)
device.write(1, block)
device.close()
sys.stdout.buffer.write(bytes(block[: tiny.block_bytes]))
"""
    paths = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    command = [sys.executable, "-c", code, str(tmp_path / "pool")]
    done = subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": paths}, timeout=120)
    assert done.stdout == data
    device.read(1, read := block())
    assert bytes(read[: TINY.block_bytes]) == data
    assert driver


def test_a_pool_of_another_gpu_or_that_cannot_be_read_is_refused(driver, device):
    shared = json.loads(share(device)) | {"device": "00" * 16}
    with pytest.raises(NamespaceMismatch, match="lies on GPU 0000"):
        open_shared(driver, json.dumps(shared).encode())
    with pytest.raises(NamespaceMismatch, match="cannot be read"):
        open_shared(driver, b"{}")


def wanted(url, layout=TINY, capacity=6):
    medium = Medium.parse(url)
    return Wanted(
        tier="g1", medium=medium, capacity=capacity, layout=layout, namespace="m=1", reset=False, instance="i"
    )


def test_a_plan_can_name_a_gpu(driver):  # noqa: ARG001 - there is one
    device, opening = open_store(wanted("cuda:0"))
    assert isinstance(device, CudaDevice)
    assert opening is None
    device.close()


@pytest.mark.parametrize("url", ["cuda:", "cuda:first", "cuda:/pool?device=first"])
def test_a_medium_that_names_no_gpu_is_refused(driver, url):  # noqa: ARG001 - there is one
    with pytest.raises(InvalidCommand, match="names no GPU"):
        open_store(wanted(url))


def test_a_gpu_that_is_not_there_is_refused(driver):  # noqa: ARG001 - there is one
    with pytest.raises(CudaUnavailable, match="CUDA device 42"):
        open_store(wanted("cuda:42"))


def test_layouts_of_engine_and_plan_must_agree():
    universal = Layout(groups=TINY.groups, packing="universal")
    assert msgspec.json.decode(msgspec.json.encode(universal), type=Layout) == universal
    with pytest.raises(NamespaceMismatch, match="packing"):
        TINY.check(universal)
