"""NIXL's UCX engine between the memory of two processes: writes only, since the source of a block pushes it.

An agent that ended is a fence: its connections are closed and its thread is gone, so nothing that a peer has sent, and
nothing that a peer still sends over a network, lands in its memory any more. What UCX copies between two processes of
one machine (CMA) is written by the peer alone, and ends with the peer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from kvbm_tiers.errors import NixlUnavailable
from kvbm_tiers.nixl_agent import NixlAgent, NixlTransferFailed, Row, load_nixl

PROGRESS_PAUSE_US = 1000
"""How long UCX's thread waits for the network at a time. NIXL's Python sets 0, with which it takes a whole core."""
_substituting = Lock()


class UcxAgent(NixlAgent):
    """Memory registered once, and what is pushed from it.

    :ivar metadata: what a peer needs to reach this memory
    """

    def __init__(self, name: str, memory: Iterable[Row]) -> None:
        """Register whole regions, under a name that no agent had before.

        Raises:
            NixlUnavailable: it is not installed, or does not start.
        """
        api = load_nixl()
        try:
            with _patient_progress(api):
                agent = api.nixl_agent(name, api.nixl_agent_config(backends=[], enable_prog_thread=True))
            super().__init__(agent, "UCX")
            agent.create_backend("UCX", {"ucx_error_handling_mode": "peer"})
            agent.register_memory([(*row, "") for row in memory], "DRAM")
            self.metadata: bytes = agent.get_agent_metadata()
        except Exception as error:  # every failure of NIXL has a type of its bindings' own
            raise NixlUnavailable("NIXL's UCX engine does not start", why=repr(error)) from error

    def meet(self, metadata: bytes) -> str:
        """Get to know another agent; its name.

        Raises:
            NixlTransferFailed: these are no agent's metadata.
        """
        try:
            name: str | bytes = self._agent.add_remote_agent(metadata)  # documented as text; it gives bytes
        except Exception as error:
            raise NixlTransferFailed(repr(error)) from error
        return name.decode() if isinstance(name, bytes) else name

    def post(self, peer: str, mine: Sequence[Row], theirs: Sequence[Row]) -> Any:  # noqa: ANN401 - NIXL's handles are opaque
        """Start to write memory of this agent into a peer's, row by row. On one machine this call copies it all.

        Raises:
            NixlTransferFailed: it did not start.
        """
        try:
            local = self._agent.get_xfer_descs(mine, "DRAM")
            far = self._agent.get_xfer_descs(theirs, "DRAM")
        except Exception as error:
            raise NixlTransferFailed(repr(error)) from error
        return self.start("WRITE", local, far, peer)

    def end(self, unfinished: Iterable[Any]) -> None:
        """End it, whatever is under way: from here on it neither reads nor writes, and what peers send does not land.

        Args:
            unfinished: handles of transfers that are not over. To release them would let them write on.
        """
        for handle in (*unfinished, *self._unreleased):
            handle._released, handle._agent = True, None  # noqa: SLF001 - else its end releases it, and keeps the agent
        self._unreleased.clear()
        self._agent.agent = None  # the last reference to what is not Python


class _Patient:
    """NIXL's bindings, with agents whose progress thread waits."""

    def __init__(self, bindings: Any) -> None:  # noqa: ANN401 - a module of NIXL's
        self._bindings = bindings

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the bindings have
        return getattr(self._bindings, name)

    def nixlAgent(self, name: str, config: Any) -> Any:  # noqa: ANN401, N802 - the bindings' own name and types
        if not hasattr(config, "pthrDelay"):
            raise AttributeError("this NIXL has no pthrDelay: its progress thread would take a whole core")
        config.pthrDelay = PROGRESS_PAUSE_US
        return self._bindings.nixlAgent(name, config)


@contextmanager
def _patient_progress(api: Any) -> Iterator[None]:  # noqa: ANN401 - NIXL's module
    """Meanwhile the module makes patient agents: it has no other way to say so."""
    with _substituting:
        bindings = api.nixlBind
        api.nixlBind = _Patient(bindings)
        try:
            yield
        finally:
            api.nixlBind = bindings
