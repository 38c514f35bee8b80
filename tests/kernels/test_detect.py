"""Detection: with no driver, with odd ones, and with drivers and devices that a few lines of C stand in for."""

import subprocess

import pytest

from kvbm_kernels import detect, detect_cuda
from kvbm_kernels.errors import CompilerUnavailable
from kvbm_kernels.host import find_compiler

DRIVER = """
#include <cstring>
extern "C" {
int cuInit(unsigned) { return INIT; }
int cuDriverGetVersion(int* version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int* count) { *count = COUNT; return 0; }
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetName(char* name, int, int device) { strcpy(name, "Test GPU 0"); name[9] += device; return 0; }
int cuDeviceTotalMem_v2(unsigned long* size, int) { *size = 80UL << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) { *value = attribute == 75 ? MAJOR : 0; return 0; }
int cuGetErrorName(int, const char** name) { *name = "CUDA_ERROR_NO_DEVICE"; return 0; }
}
"""


@pytest.fixture
def driver(tmp_path):
    """A driver library with figures of one's own."""

    def make(**figures):
        try:
            compiler = find_compiler()
        except CompilerUnavailable as error:
            pytest.skip(f"NOT TESTED: odd drivers; {error}")
        figures = {"INIT": 0, "VERSION": 13000, "COUNT": 1, "MAJOR": 9} | figures
        source, library = tmp_path / "driver.cpp", tmp_path / "libcuda.so.1"
        source.write_text(DRIVER)
        defines = [f"-D{name}={value}" for name, value in figures.items()]
        subprocess.run([compiler, "-shared", "-fPIC", *defines, "-o", str(library), str(source)], check=True)
        return str(library)

    return make


def test_without_a_driver_it_is_off_and_says_so():
    state = detect_cuda("libno-such-driver.so.1")
    assert not state.is_on
    assert "no NVIDIA driver" in state.why
    assert state.hint


def test_a_library_that_is_no_driver_is_not_one():
    state = detect_cuda("libm.so.6")
    assert not state.is_on
    assert "cuInit" in state.why


def test_a_driver_that_does_not_start_is_named_with_its_error(driver):
    state = detect_cuda(driver(INIT=100))
    assert "CUDA_ERROR_NO_DEVICE (100)" in state.why


def test_a_driver_that_sees_no_device(driver):
    state = detect_cuda(driver(COUNT=0))
    assert state.driver == (13, 0)
    assert "no device" in state.why


def test_devices_are_told_with_name_capability_and_memory(driver):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NOT TESTED: the CUDA bindings are not installed")
    state = detect_cuda(driver(COUNT=2))
    assert state.is_on, state.why
    assert [gpu.name for gpu in state.gpus] == ["Test GPU 0", "Test GPU 1"]
    assert state.gpus[0].capability == (9, 0)
    assert state.gpus[0].memory_bytes == 80 << 30


def test_a_device_too_old_for_the_kernels(driver):
    assert "older than compute capability 8.0" in detect_cuda(driver(MAJOR=7)).why


def test_a_driver_too_old_for_the_compiler(driver):
    pytest.importorskip("cuda.bindings.nvrtc", reason="NOT TESTED: the CUDA bindings are not installed")
    state = detect_cuda(driver(VERSION=12080))
    assert "newer drivers than this one (CUDA 12.8)" in state.why
    assert "upgrade the driver" in state.hint


def test_devices_without_the_bindings(driver, monkeypatch):
    monkeypatch.setattr(detect.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    state = detect_cuda(driver())
    assert not state.is_on
    assert state.gpus
    assert "kvbm-nats[cuda]" in state.hint


def test_this_machine_is_told_without_raising():
    state = detect_cuda()
    assert state.is_on == (not state.why)
