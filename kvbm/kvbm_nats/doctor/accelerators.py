"""Checks of what moves bytes faster than the interpreter can: CUDA, the kernel for host memory, NIXL, GPUDirect Storage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from kvbm_kernels import CpuKernel, CudaState, compile_for_cpu, detect_cuda
from kvbm_kernels.errors import CompilerUnavailable, KernelUnavailable
from kvbm_nats.doctor.finding import Finding, State
from kvbm_nats.doctor.machine import existing
from kvbm_tiers.cuda import gds_flaw
from kvbm_tiers.nixl_probe import NixlState

NIXL_TIMEOUT_S = 20.0
GPU_NODE = Path("/dev/nvidiactl")
"""There where a driver is loaded: then CUDA being off is a fault, and not how the machine is."""


def check_cuda(detect: Callable[[], CudaState] = detect_cuda, node: Path = GPU_NODE) -> list[Finding]:
    """Driver, devices, and what compiles for them."""
    state = detect()
    if not state.is_on:
        is_fault = bool(state.gpus) or node.exists()
        found = Finding(name="cuda", state="poor" if is_fault else "note", what=f"off: {state.why}", hint=state.hint)
        return [found]
    gpus = ", ".join(
        f"{gpu.name} ({gpu.memory_bytes / 2**30:.0f} GiB, sm_{gpu.capability[0]}{gpu.capability[1]})"
        for gpu in state.gpus
    )
    return [Finding(name="cuda", state="ok", what=f"{gpus}; driver of CUDA {state.driver[0]}.{state.driver[1]}")]


def check_host_kernel() -> list[Finding]:
    """The kernel that stands in for a GPU's."""
    try:
        CpuKernel(compile_for_cpu())
    except KernelUnavailable as error:
        state: State = "note" if isinstance(error, CompilerUnavailable) else "poor"
        return [
            Finding(
                name="cpu kernel", state=state, what=f"{error.what}: {error.why}", hint=error.hint or "see the compiler"
            )
        ]
    return [Finding(name="cpu kernel", state="ok", what="compiled")]


def check_nixl(detect: Callable[[], CudaState] = detect_cuda) -> list[Finding]:
    """NIXL's plug-ins, loaded in a process of its own."""
    command = [sys.executable, "-m", "kvbm_tiers.nixl_probe", *(["gds"] if detect().is_on else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NIXL_TIMEOUT_S, check=False)  # noqa: S603 - our own
    except subprocess.TimeoutExpired:
        what = f"its plug-ins did not load within {NIXL_TIMEOUT_S:g} s"
        return [Finding(name="nixl", state="poor", what=what, hint=" ".join(command))]
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}"
        if "ModuleNotFoundError" in last:
            what = "not installed: blocks go to disk by plain reads and writes in threads"
            return [Finding(name="nixl", state="note", what=what, hint="docs/nixl.md says how, without torch")]
        return [Finding(name="nixl", state="poor", what=f"it does not start: {last}", hint=" ".join(command))]
    state = msgspec.json.decode(done.stdout, type=NixlState)
    what = f"{state.version}: {', '.join(state.usable)}; not usable here: {', '.join(state.unusable) or 'none'}"
    if "POSIX" not in state.usable:
        return [Finding(name="nixl", state="poor", what=what, hint="reinstall nixl-cu12: POSIX should load anywhere")]
    return [Finding(name="nixl", state="ok", what=what)]


def check_gds(folder: Path, ask: Callable[[Path], str] = gds_flaw) -> list[Finding]:
    """Whether blocks go between a GPU and the disk of a folder without passing host memory: bytes are sent there and back."""
    if flaw := ask(existing(folder)):
        hint = "docs/cuda.md says what it needs; without it, blocks go between GPU and disk over host memory"
        return [Finding(name="gds", state="note", what=f"off: {flaw}", hint=hint)]
    return [Finding(name="gds", state="ok", what="blocks go between GPU and disk without passing host memory")]
