"""Why a kernel cannot be had here.

KvbmError
└── KernelUnavailable
    ├── CompilerUnavailable  no C++ compiler, or no NVRTC
    ├── CompilationFailed    the compiler does not take the source
    ├── CudaUnavailable      no driver, no device, or none that these kernels run on
    └── CudaFailed           the driver refused a call; what was under way on the device may be lost
"""

from __future__ import annotations

from kvbm_events.schema.errors import KvbmError


class KernelUnavailable(KvbmError):
    """Base of all."""


class CompilerUnavailable(KernelUnavailable):
    """There is nothing here that compiles the source."""


class CompilationFailed(KernelUnavailable):
    """The compiler does not take the source, or what it made cannot be loaded."""


class CudaUnavailable(KernelUnavailable):
    """There is no driver, no device, or none that these kernels run on."""


class CudaFailed(KernelUnavailable):
    """The driver refused a call. `code` is its name for why."""

    def __init__(self, call: str, code: str, hint: str = "") -> None:
        self.code = code
        super().__init__(f"{call} failed", why=code, hint=hint)
