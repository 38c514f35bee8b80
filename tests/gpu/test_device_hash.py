"""The hash of the device, on the device."""

from random import Random

import pytest
from xxhash import xxh3_64_hexdigest

from kvbm_kernels.errors import CudaFailed
from kvbm_tiers.cuda import DeviceHash
from support.fake_cuda import OUT_OF_MEMORY

SPACING = 4096


@pytest.mark.parametrize("size", [241, 1024, 1500, 4096])
@pytest.mark.parametrize("count", [1, 5, 300])
def test_what_a_device_hashes_is_what_the_host_does(driver, stream, device_memory, size, count):
    data = Random(count).randbytes(count * SPACING)
    here, hashing = device_memory(len(data)), DeviceHash(driver, count)
    driver.upload(here, data)
    hashing.start([here + at * SPACING for at in range(count)], size, stream)
    driver.await_stream(stream)
    assert hashing.found(count, size) == [
        xxh3_64_hexdigest(data[at * SPACING : at * SPACING + size]) for at in range(count)
    ]
    hashing.close()


def test_a_hash_that_could_not_have_its_room_leaves_nothing(driver, fake):
    for call in ("cuMemAlloc_v2", "cuMemHostRegister_v2"):
        fake.fail(call, OUT_OF_MEMORY)
        with pytest.raises(CudaFailed):
            DeviceHash(driver, 4)
