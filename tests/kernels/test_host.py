"""Which kernel host memory gets, and what is said when it is the slow one."""

import _ctypes
from pathlib import Path

import pytest
import structlog.testing

from kvbm_kernels import Cache, CpuKernel, PlainKernel, compile_for_cpu, host
from kvbm_kernels.errors import CompilationFailed, CompilerUnavailable


@pytest.fixture(autouse=True)
def forgotten():
    host.host_kernel.cache_clear()
    yield
    host.host_kernel.cache_clear()


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)


def script(tmp_path, monkeypatch, text):
    """A compiler that does what a few lines of shell do."""
    path = tmp_path / "cxx"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_blocks_are_copied_in_python_and_that_is_said():
    with structlog.testing.capture_logs() as logs:
        assert isinstance(host.host_kernel(), PlainKernel)
    assert logs[0]["log_level"] == "warning"
    assert "apt install g++" in logs[0]["why"]


@pytest.mark.usefixtures("no_compiler")
def test_a_missing_compiler_is_an_error_by_name():
    with pytest.raises(CompilerUnavailable, match="no C\\+\\+ compiler"):
        compile_for_cpu()


def test_the_compilers_words_are_told(tmp_path, monkeypatch):
    script(tmp_path, monkeypatch, "echo out of ink >&2; exit 1")
    with pytest.raises(CompilationFailed, match="out of ink"):
        compile_for_cpu(cache=Cache(tmp_path / "cache"))


def test_a_library_that_cannot_be_loaded_is_an_error_by_name(tmp_path, monkeypatch):
    script(tmp_path, monkeypatch, 'while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"')
    path = compile_for_cpu(cache=Cache(tmp_path / "cache"))
    with pytest.raises(CompilationFailed, match="cannot be loaded"):
        CpuKernel(path)


def test_a_library_without_the_kernel_is_an_error_by_name():
    with pytest.raises(CompilationFailed, match="copy_blocks_cpu"):
        CpuKernel(Path(_ctypes.__file__))
