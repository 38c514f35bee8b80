"""The kernel compiled for every GPU that it is meant for, without one."""

import pytest

from kvbm_kernels import Cache, nvrtc
from kvbm_kernels.errors import CompilationFailed, CompilerUnavailable, CudaUnavailable

REGISTERS_MAX = {
    "copy_blocks": 64,  # of 65,536: 1,024 threads of such a kernel fit on a multiprocessor, half of what it can have
    "hash_blocks": 128,  # a KiB of a block is under way in eight threads, and a launch has few of them
}


@pytest.fixture(autouse=True)
def compiler():
    try:
        nvrtc.version()
    except CompilerUnavailable as error:
        pytest.skip(f"NOT TESTED: the kernel for GPUs; {error}")


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_it_compiles_and_takes_few_registers_and_spills_none(architecture):
    compiled = nvrtc.compile_for(architecture)
    assert compiled.cubin.startswith(b"\x7fELF")
    assert compiled.demands.keys() == REGISTERS_MAX.keys()
    for kernel, demand in compiled.demands.items():
        assert kernel.encode() in compiled.cubin
        assert 16 <= demand.registers <= REGISTERS_MAX[kernel]
        assert demand.spilled_bytes == 0


def test_a_process_after_the_first_does_not_compile(tmp_path, monkeypatch):
    first = nvrtc.cubin_for("sm_90", cache=Cache(tmp_path))
    monkeypatch.setattr(nvrtc, "compile_for", None)
    assert nvrtc.cubin_for("sm_90", cache=Cache(tmp_path)) == first


def test_each_architecture_version_and_source_is_an_entry_of_its_own(tmp_path, monkeypatch):
    cache, compiled = Cache(tmp_path), []
    real = nvrtc.compile_for
    monkeypatch.setattr(nvrtc, "compile_for", lambda architecture: compiled.append(architecture) or real(architecture))
    nvrtc.cubin_for("sm_80", cache=cache)
    nvrtc.cubin_for("sm_90", cache=cache)
    monkeypatch.setattr(nvrtc, "version", lambda: (99, 1))
    nvrtc.cubin_for("sm_90", cache=cache)
    source = nvrtc._source()
    monkeypatch.setattr(nvrtc, "_source", lambda: source + b"\n")
    nvrtc.cubin_for("sm_90", cache=cache)
    headers = nvrtc._headers()
    monkeypatch.setattr(nvrtc, "_headers", lambda: {**headers, "words.cuh": headers["words.cuh"] + b"\n"})
    nvrtc.cubin_for("sm_90", cache=cache)
    nvrtc.cubin_for("sm_90", cache=cache)
    assert compiled == ["sm_80", "sm_90", "sm_90", "sm_90", "sm_90"]


def test_source_that_is_wrong_is_refused_with_the_compilers_words(monkeypatch):
    monkeypatch.setattr(nvrtc, "_source", lambda: b"__global__ void f() { nonsense; }")
    with pytest.raises(CompilationFailed, match='identifier "nonsense" is undefined'):
        nvrtc.compile_for("sm_90")


def test_an_architecture_that_is_none_is_refused():
    with pytest.raises(CompilationFailed, match="gpu-architecture"):
        nvrtc.compile_for("sm_1")


@pytest.mark.parametrize(
    ("capability", "architecture"),
    [
        ((8, 0), "sm_80"),
        ((8, 6), "sm_86"),
        ((9, 0), "sm_90"),
        ((10, 0), "sm_100"),
        ((12, 0), "sm_120"),
        ((12, 9), "sm_121"),
    ],
)
def test_a_device_gets_its_own_architecture_or_an_older_one_of_its_family(capability, architecture):
    assert nvrtc.architecture_for(capability) == architecture


def test_a_device_of_an_unknown_family_is_refused_with_what_is_known():
    with pytest.raises(CudaUnavailable, match="99"):
        nvrtc.architecture_for((99, 0))


def test_without_nvrtc_the_error_says_how_to_install_it(monkeypatch):
    nvrtc._nvrtc.cache_clear()
    monkeypatch.setattr(nvrtc.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(CompilerUnavailable, match=r"kvbm-nats\[cuda\]"):
        nvrtc.version()
