"""What tests of the GPU share."""

import ctypes

import pytest

from kvbm_tiers.memory import address_of, anonymous
from support.fake_cuda import load
from support.gpu import fake_cuda, gpu_driver


def pytest_collection_modifyitems(items):
    """All that is in this folder needs a GPU."""
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture
def driver():
    """The device. What a test leaves on a fake one is a leak, and its faults are its own."""
    driver, fake = gpu_driver(), load()
    before = fake.allocations if fake else 0
    yield driver
    if fake:
        fake.recover()
        assert fake.allocations == before


@pytest.fixture
def fake(driver):  # noqa: ARG001 - the fake is loaded before the driver is
    """The fake driver."""
    return fake_cuda()


@pytest.fixture
def stream(driver):
    stream = driver.make_stream()
    yield stream
    driver.destroy_stream(stream)


@pytest.fixture
def device_memory(driver):
    """Allocates device memory for a test."""
    taken = []

    def allocate(size):
        taken.append(driver.allocate(size))
        return taken[-1]

    yield allocate
    for address in taken:
        driver.free(address)


@pytest.fixture
def pinned(driver):
    """Pins host memory for a test."""
    taken = []

    def allocate(size):
        memory = anonymous(size)
        driver.pin(address_of(memory), size)
        taken.append(memory)
        return memory

    yield allocate
    for memory in taken:
        driver.unpin(address_of(memory))


@pytest.fixture
def peek(driver, stream):
    """Reads device memory."""

    def read(address, size):
        data = ctypes.create_string_buffer(size)
        driver.copy([ctypes.addressof(data)], [address], [size], stream, in_order=True)
        driver.await_stream(stream)
        return data.raw

    return read
