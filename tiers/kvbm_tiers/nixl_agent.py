"""NIXL's POSIX engine between host memory and files, as little of it as a mover needs.

NIXL is imported when an agent is made, not before; torch never is, although the wheel asks for it. One thread makes an
agent and is the only one that calls it: without locks of its own it loses completions, or worse.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import structlog

from kvbm_tiers.errors import NixlUnavailable

_logger = structlog.get_logger(__name__)
Engine = Literal["aio", "uring"]
"""libaio, or io_uring. POSIX aio is not offered: it is several times slower, and one failed transfer ends it."""
Row = tuple[int, int, int]
"""Address or offset, length, and 0 for memory or the descriptor of a file."""

_QUEUE_SIZE = "256"


class NixlTransferFailed(Exception):
    """NIXL says that a transfer failed, and hardly ever why."""


class PosixAgent:
    """Memory and files registered once, and transfers between them.

    A handle is released when its transfer is over and never before: that wedges the engine, or lets it write on.
    """

    def __init__(self, name: str, engine: Engine, memory: Iterable[Row], files: Iterable[Row]) -> None:
        """Register whole regions.

        Raises:
            NixlUnavailable: it is not installed, or does not start.
        """
        os.environ.setdefault("NIXL_LOG_LEVEL", "ERROR")  # it is read on import
        self._unreleased: list[Any] = []  # whose transfers may be half begun: a handle is released when nobody has it
        try:
            api: Any = importlib.import_module("nixl_cu12._api")
        except ImportError as error:
            raise NixlUnavailable(
                "NIXL is not installed", why=str(error), hint="docs/nixl.md says how to install it without torch"
            ) from error
        try:
            self._agent = api.nixl_agent(name, api.nixl_agent_config(backends=[], enable_prog_thread=False))
            self._agent.create_backend("POSIX", {f"use_{engine}": "true", "kernel_queue_size": _QUEUE_SIZE})
            self._regions = [
                self._agent.register_memory([(*row, "")], kind)
                for kind, rows in (("DRAM", memory), ("FILE", files))
                for row in rows
            ]
        except Exception as error:  # every failure of NIXL has a type of its bindings' own
            raise NixlUnavailable(f"NIXL's POSIX engine with {engine} does not start", why=repr(error)) from error

    def post(self, operation: Literal["READ", "WRITE"], memory: Sequence[Row], file: Sequence[Row]) -> Any:  # noqa: ANN401 - NIXL's handles are opaque
        """Start a transfer between memory and file, row by row; a handle for `is_over` and `release`.

        Raises:
            NixlTransferFailed: it did not start.
        """
        try:
            local = self._agent.get_xfer_descs(memory, "DRAM")
            far = self._agent.get_xfer_descs(file, "FILE")
            handle = self._agent.initialize_xfer(operation, local, far, self._agent.name, backends=["POSIX"])
        except Exception as error:
            raise NixlTransferFailed(repr(error)) from error
        try:
            self._agent.transfer(handle)  # a failure that it returns is told again by the first look at the state
        except Exception as error:
            self._unreleased.append(handle)
            raise NixlTransferFailed(repr(error)) from error
        return handle

    def is_over(self, handle: Any) -> bool:  # noqa: ANN401 - NIXL's handles are opaque
        """Drive a transfer on, and say whether it is over. At most 64 reads or writes are submitted in one call.

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
            _logger.warning("NIXL does not take a handle back; it stays", error=repr(error))

    def close(self) -> None:
        """Deregister everything. Nothing may be under way."""
        for region in self._regions:
            self._agent.deregister_memory(region)
