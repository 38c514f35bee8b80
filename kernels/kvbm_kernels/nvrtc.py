"""The kernels (`cuda/kernels.cuh`) compiled for a GPU by NVRTC, which needs no driver, no GPU and no CUDA toolkit.

It makes machine code (a cubin) of one architecture, and not PTX: PTX of a newer NVRTC is refused by older drivers.
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from typing import Any, NamedTuple

from kvbm_kernels.cache import Cache, key_of
from kvbm_kernels.errors import CompilationFailed, CompilerUnavailable, CudaUnavailable
from kvbm_kernels.host import SOURCES

ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")
"""What the tests compile for: A100, H100 and H200, B200, RTX Blackwell. Others are compiled for as they are met."""
KERNELS = ("copy_blocks", "hash_blocks")
_OPTIONS = ("--std=c++17", "-default-device", "--ptxas-options=-v")
_SOURCE = "kernels.cuh"
_DEMAND = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.DOTALL
)
_INSTALL = "pip install 'kvbm-nats[cuda]'"


class Demand(NamedTuple):
    """What a thread of a kernel takes.

    :ivar registers: 32 bits each
    :ivar spilled_bytes: of registers that did not fit, stored and loaded
    """

    registers: int
    spilled_bytes: int


class Compiled(NamedTuple):
    """A cubin, and what each of its kernels takes."""

    cubin: bytes
    demands: dict[str, Demand]


def version() -> tuple[int, int]:
    """Of NVRTC. Raises CompilerUnavailable if it is not installed."""
    major, minor = _ask(_nvrtc().nvrtcVersion)
    return int(major), int(minor)


def architecture_for(capability: tuple[int, int]) -> str:
    """What to compile for, to run on a device of this compute capability: its own, or an older one of its family.

    Raises:
        CompilerUnavailable: NVRTC is not installed.
        CudaUnavailable: it does not know the device's family.
    """
    major, minor = capability
    known = [int(number) for number in _ask(_nvrtc().nvrtcGetSupportedArchs)]
    fitting = [number for number in known if number // 10 == major and number % 10 <= minor]
    if not fitting:
        raise CudaUnavailable(
            f"a device of compute capability {major}.{minor}",
            why=f"NVRTC {'.'.join(map(str, version()))} compiles for {', '.join(map(str, known))}",
            hint="upgrade nvidia-cuda-nvrtc, or use a newer GPU",
        )
    return f"sm_{max(fitting)}"


def cubin_for(architecture: str, *, cache: Cache | None = None) -> bytes:
    """The machine code, compiled if no earlier process has.

    Raises:
        CompilerUnavailable: NVRTC is not installed.
        CompilationFailed: it does not take the source.
    """
    key = key_of(_source(), *_headers().values(), architecture, version(), *_OPTIONS)
    return (cache or Cache()).path(key, "cubin", lambda: compile_for(architecture).cubin).read_bytes()


def compile_for(architecture: str) -> Compiled:
    """Compile. Raises as `cubin_for`."""
    nvrtc, headers = _nvrtc(), _headers()
    contents, names = [*headers.values()], [name.encode() for name in headers]
    program = _ask(nvrtc.nvrtcCreateProgram, _source(), _SOURCE.encode(), len(headers), contents, names)
    try:
        options = [f"--gpu-architecture={architecture}".encode(), *(option.encode() for option in _OPTIONS)]
        (result,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode().rstrip("\0 \n")
        if result != 0:
            raise CompilationFailed(f"NVRTC does not take the kernel for {architecture}", why=log)
        cubin = _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    demands = {name: Demand(int(used), int(out) + int(back)) for name, out, back, used in _DEMAND.findall(log)}
    return Compiled(cubin, demands)


def _source() -> bytes:
    return (SOURCES / _SOURCE).read_bytes()


def _headers() -> dict[str, bytes]:
    """What it includes, by name."""
    return {path.name: path.read_bytes() for path in sorted(SOURCES.glob("*.cuh")) if path.name != _SOURCE}


@cache
def _nvrtc() -> Any:  # noqa: ANN401 - compiled bindings without type information
    try:
        nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")
        nvrtc.nvrtcVersion()
    except Exception as error:  # the bindings raise types of their own, and RuntimeError, where the library is missing
        raise CompilerUnavailable("NVRTC is not installed", why=str(error).strip(), hint=_INSTALL) from error
    return nvrtc


def _ask(call: Any, *arguments: object) -> Any:  # noqa: ANN401 - the same
    result, *answer = call(*arguments)
    if result != 0:
        raise CompilationFailed(f"{call.__name__} failed", why=str(result))
    return answer[0] if len(answer) == 1 else answer


def _text(size_of: Any, get: Any, program: Any) -> bytes:  # noqa: ANN401 - the same
    size: int = _ask(size_of, program)
    data = b" " * size
    _ask(get, program, data)  # the bindings write into it
    return data
