"""NIXL's engines as little of them as a mover needs: POSIX between memory and files here, UCX in `remote/ucx_agent.py`.

NIXL is imported when an agent is made, not before; torch never is, although the wheel asks for it. One thread makes an
agent and is the only one that calls it: without locks of its own it loses completions, or worse.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import structlog

from kvbm_tiers.errors import NixlUnavailable

logger = structlog.get_logger(__name__)
Engine = Literal["aio", "uring"]
"""libaio, or io_uring. POSIX aio is not offered: it is several times slower, and one failed transfer ends it."""
Row = tuple[int, int, int]
"""Address or offset, length, and 0 for memory or the descriptor of a file."""
Operation = Literal["READ", "WRITE"]

_QUEUE_SIZE = "256"
_RDMA_DEVICES = Path("/sys/class/infiniband")


class NixlTransferFailed(Exception):
    """NIXL says that a transfer failed, and hardly ever why."""


def load_nixl() -> Any:  # noqa: ANN401 - its module has no types
    """NIXL's module. What is not in the environment yet and read on import is set before.

    Raises:
        NixlUnavailable: it is not installed.
    """
    os.environ.setdefault("NIXL_LOG_LEVEL", "ERROR")
    os.environ.setdefault("UCX_LOG_LEVEL", "error")
    if not (_RDMA_DEVICES.is_dir() and any(_RDMA_DEVICES.iterdir())):
        # With the system's ibverbs providers beside those of the wheel, a process crashes when it ends.
        os.environ.setdefault("UCX_MODULES", "^ib")
    try:
        return importlib.import_module("nixl_cu12._api")
    except ImportError as error:
        raise NixlUnavailable(
            "NIXL is not installed", why=str(error), hint="docs/nixl.md says how to install it without torch"
        ) from error


class NixlAgent:
    """Transfers of an agent with one engine.

    A handle is released when its transfer is over and never before: that wedges an engine, or lets it write on.
    """

    def __init__(self, agent: Any, backend: str) -> None:  # noqa: ANN401 - its class is NIXL's
        self._agent, self._backend = agent, backend
        self._unreleased: list[Any] = []  # whose transfers may be half begun: a handle is released when nobody has it

    def start(self, operation: Operation, local: Any, far: Any, peer: str) -> Any:  # noqa: ANN401 - NIXL's handles are opaque
        """Start a transfer between descriptors; a handle for `is_over` and `release`.

        Raises:
            NixlTransferFailed: it did not start.
        """
        try:
            handle = self._agent.initialize_xfer(operation, local, far, peer, backends=[self._backend])
        except Exception as error:
            raise NixlTransferFailed(repr(error)) from error
        try:
            self._agent.transfer(handle)  # a failure that it returns is told again by the first look at the state
        except Exception as error:
            self._unreleased.append(handle)
            raise NixlTransferFailed(repr(error)) from error
        return handle

    def is_over(self, handle: Any) -> bool:  # noqa: ANN401 - NIXL's handles are opaque
        """Drive a transfer on, and say whether it is over. POSIX submits at most 64 reads or writes in one call.

        Raises:
            NixlTransferFailed: it is over, and failed.
        """
        try:
            state = self._agent.check_xfer_state(handle)
        except Exception as error:
            raise NixlTransferFailed(repr(error)) from error
        if state not in {"DONE", "PROC"}:
            raise NixlTransferFailed(state)
        return bool(state == "DONE")

    def release(self, handle: Any) -> None:  # noqa: ANN401 - NIXL's handles are opaque
        """Give back the handle of a transfer that is over."""
        try:
            self._agent.release_xfer_handle(handle)
        except Exception as error:  # noqa: BLE001 - a type of its bindings' own; the transfer is over all the same
            self._unreleased.append(handle)
            logger.warning("NIXL does not take a handle back; it stays", error=repr(error))


class PosixAgent(NixlAgent):
    """Memory and files registered once, and transfers between them."""

    def __init__(self, name: str, engine: Engine, memory: Iterable[Row], files: Iterable[Row]) -> None:
        """Register whole regions.

        Raises:
            NixlUnavailable: it is not installed, or does not start.
        """
        api = load_nixl()
        try:
            super().__init__(
                api.nixl_agent(name, api.nixl_agent_config(backends=[], enable_prog_thread=False)), "POSIX"
            )
            self._agent.create_backend("POSIX", {f"use_{engine}": "true", "kernel_queue_size": _QUEUE_SIZE})
            self._regions = [
                self._agent.register_memory([(*row, "")], kind)
                for kind, rows in (("DRAM", memory), ("FILE", files))
                for row in rows
            ]
        except Exception as error:  # every failure of NIXL has a type of its bindings' own
            raise NixlUnavailable(f"NIXL's POSIX engine with {engine} does not start", why=repr(error)) from error

    def post(self, operation: Operation, memory: Sequence[Row], file: Sequence[Row]) -> Any:  # noqa: ANN401 - NIXL's handles are opaque
        """Start a transfer between memory and file, row by row. Raises NixlTransferFailed."""
        try:
            local = self._agent.get_xfer_descs(memory, "DRAM")
            far = self._agent.get_xfer_descs(file, "FILE")
        except Exception as error:
            raise NixlTransferFailed(repr(error)) from error
        return self.start(operation, local, far, self._agent.name)

    def close(self) -> None:
        """Deregister everything. Nothing may be under way."""
        for region in self._regions:
            self._agent.deregister_memory(region)
