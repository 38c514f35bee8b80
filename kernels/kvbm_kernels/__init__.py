"""CUDA kernels, how they are compiled and launched, and the same functions on the CPU. It knows addresses and strides only."""

from kvbm_kernels.boxes import Box, BoxTable, joined, run, tiled
from kvbm_kernels.cache import Cache
from kvbm_kernels.detect import CudaState, Gpu, detect_cuda
from kvbm_kernels.errors import (
    CompilationFailed,
    CompilerUnavailable,
    CudaFailed,
    CudaUnavailable,
    KernelUnavailable,
)
from kvbm_kernels.host import CpuKernel, HostKernel, PlainKernel, compile_for_cpu, host_kernel

__all__ = [
    "Box",
    "BoxTable",
    "Cache",
    "CompilationFailed",
    "CompilerUnavailable",
    "CpuKernel",
    "CudaFailed",
    "CudaState",
    "CudaUnavailable",
    "Gpu",
    "HostKernel",
    "KernelUnavailable",
    "PlainKernel",
    "compile_for_cpu",
    "detect_cuda",
    "host_kernel",
    "joined",
    "run",
    "tiled",
]
