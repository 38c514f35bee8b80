"""NIXL between host memory and files or objects, as little of it as a mover needs; `remote/ucx_agent.py` is for the rest.

NIXL is imported when an agent is made, not before; torch never is, although the wheel asks for it. One thread makes an
agent and is the only one that calls it: without locks of its own it loses completions, or worse.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import structlog

from kvbm_tiers.errors import NixlUnavailable

_logger = structlog.get_logger(__name__)
Engine = Literal["aio", "uring"]
"""libaio, or io_uring. POSIX aio is not offered: it is several times slower, and one failed transfer ends it."""
MemoryKind = Literal["DRAM", "VRAM"]
"""Of a host, or of a GPU."""
Row = tuple[int, int, int]
"""Address or offset, length, and the descriptor of a file, the number of a GPU, or 0 for host memory."""

_QUEUE_SIZE = "256"
_ENVIRONMENT = {
    "NIXL_LOG_LEVEL": "ERROR",
    "UCX_LOG_LEVEL": "error",
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "2",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Read when NIXL is imported; what is set already stays. A dead store would take 25 s to say so without the retries' limit."""
_RDMA_DEVICES = Path("/sys/class/infiniband")


class NixlTransferFailed(Exception):
    """NIXL says that a transfer failed, and hardly ever why."""


def load_nixl() -> Any:  # noqa: ANN401 - a module without types
    """NIXL's module, with what it reads on import in the environment.

    Raises:
        NixlUnavailable: it is not installed.
    """
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    if not (_RDMA_DEVICES.is_dir() and any(_RDMA_DEVICES.iterdir())):
        # Where the system has ibverbs providers of its own, a process that loaded UCX's crashes when it ends.
        os.environ.setdefault("UCX_MODULES", "^ib")
    try:
        return importlib.import_module("nixl_cu12._api")
    except ImportError as error:
        raise NixlUnavailable(
            "NIXL is not installed", why=str(error), hint="docs/nixl.md says how to install it without torch"
        ) from error


class Far(NamedTuple):
    """A piece of a file, by its descriptor, an object, by its name, or memory of a peer, by its address as the offset."""

    offset: int
    size: int
    fd: int = 0
    name: str = ""


class Handle(NamedTuple):
    """A transfer under way, and what was registered for it alone."""

    transfer: Any
    region: Any = None


class NixlAgent:
    """Memory and files registered once, and transfers between them.

    A handle is released when its transfer is over and never before: that wedges the engine, or lets it write on.
    """

    def __init__(
        self,
        name: str,
        backend: str,
        parameters: Mapping[str, str],
        memory: Iterable[Row],
        files: Iterable[Row] = (),
        *,
        kind: MemoryKind = "DRAM",
    ) -> None:
        """Register whole regions; `kind` is of the memory.

        Raises:
            NixlUnavailable: it is not installed, or does not start.
        """
        api = load_nixl()
        self._backend, self._peer, self._kind = backend, name, kind
        self._unreleased: list[Any] = []  # whose transfers may be half begun: a handle is released when nobody has it
        try:
            self._agent = self._make(api, name)
            self._agent.create_backend(backend, dict(parameters))
            self._regions = [
                self._agent.register_memory([(*row, "")], of)
                for of, rows in ((kind, memory), ("FILE", files))
                for row in rows
            ]
        except Exception as error:  # every failure of NIXL has a type of its bindings' own
            raise NixlUnavailable(f"NIXL's {backend} does not start", why=repr(error)) from error

    def post(self, operation: Literal["READ", "WRITE"], memory: Sequence[Row], far: Sequence[Far]) -> Handle:
        """Start a transfer between memory and files or objects, row by row.

        Raises:
            NixlTransferFailed: it did not start.
        """
        region = None
        try:
            region = self._register(far)
            local = self._agent.get_xfer_descs(memory, self._kind)
            remote = self._describe(far)
            transfer = self._agent.initialize_xfer(operation, local, remote, self._peer, backends=[self._backend])
        except Exception as error:
            self._deregister(region)
            raise NixlTransferFailed(repr(error)) from error
        handle = Handle(transfer, region)
        try:
            self._agent.transfer(transfer)  # a failure that it returns is told again by the first look at the state
        except Exception as error:
            self._unreleased.append(handle)
            raise NixlTransferFailed(repr(error)) from error
        return handle

    def is_over(self, handle: Handle) -> bool:
        """Drive a transfer on, and say whether it is over. At most 64 reads or writes are submitted in one call.

        Raises:
            NixlTransferFailed: it is over, and failed.
        """
        try:
            state = self._agent.check_xfer_state(handle.transfer)
        except Exception as error:
            raise NixlTransferFailed(repr(error)) from error
        if state not in {"DONE", "PROC"}:
            raise NixlTransferFailed(state)
        return bool(state == "DONE")

    def release(self, handle: Handle) -> None:
        """Give back the handle of a transfer that is over."""
        try:
            self._agent.release_xfer_handle(handle.transfer)
            self._deregister(handle.region)
        except Exception as error:  # noqa: BLE001 - a type of its bindings' own; the transfer is over all the same
            self._unreleased.append(handle)
            _logger.warning("NIXL does not take a handle back; it stays", error=repr(error))

    def close(self) -> None:
        """Deregister everything. Nothing may be under way."""
        for region in self._regions:
            self._agent.deregister_memory(region)

    def _make(self, api: Any, name: str) -> Any:  # noqa: ANN401 - NIXL's own
        return api.nixl_agent(name, api.nixl_agent_config(backends=[], enable_prog_thread=False))

    def _register(self, far: Sequence[Far]) -> Any:  # noqa: ANN401, ARG002 - NIXL's own; a file was registered before
        return None

    def _deregister(self, region: Any) -> None:  # noqa: ANN401 - NIXL's own
        if region is not None:
            self._agent.deregister_memory(region)

    def _describe(self, far: Sequence[Far]) -> Any:  # noqa: ANN401 - NIXL's own
        return self._agent.get_xfer_descs([(each.offset, each.size, each.fd) for each in far], "FILE")


class PosixAgent(NixlAgent):
    """NIXL's POSIX engine between memory and files."""

    def __init__(self, name: str, engine: Engine, memory: Iterable[Row], files: Iterable[Row]) -> None:
        parameters = {f"use_{engine}": "true", "kernel_queue_size": _QUEUE_SIZE}
        super().__init__(name, "POSIX", parameters, memory, files)


class ObjectAgent(NixlAgent):
    """NIXL's OBJ (S3) or AZURE_BLOB between memory and whole objects, one a transfer.

    A transfer of several would say that it failed while others of it still write to our memory.
    """

    def __init__(self, name: str, backend: str, parameters: Mapping[str, str], memory: Iterable[Row]) -> None:
        super().__init__(name, backend, parameters, memory)
        self._numbers = itertools.count(1)

    def _register(self, far: Sequence[Far]) -> Any:  # noqa: ANN401 - NIXL's own
        (each,) = far
        self._number = next(self._numbers)
        return self._agent.register_memory([(0, each.size, self._number, each.name)], "OBJ")

    def _describe(self, far: Sequence[Far]) -> Any:  # noqa: ANN401 - NIXL's own
        return self._agent.get_xfer_descs([(0, each.size, self._number) for each in far], "OBJ")
