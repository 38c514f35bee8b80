"""NIXL's UCX engine between the memory of two processes: writes only, since the source of a block pushes it.

An agent that ended is a fence: its connections are closed and its thread is gone, so nothing that a peer has sent, and
nothing that a peer still sends over a network, lands in its memory any more. What UCX copies between two processes of
one machine (CMA) is written by the peer alone, and ends with the peer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

from kvbm_tiers.nixl_agent import Far, Handle, NixlAgent, NixlTransferFailed, Row

PROGRESS_PAUSE_US = 1000
"""How long UCX's thread waits for the network at a time. NIXL's Python sets 0, with which it takes a whole core."""
_substituting = Lock()


class UcxAgent(NixlAgent):
    """Memory registered once, and what is pushed from it to one peer. Its name is one that no agent had before.

    :ivar metadata: what a peer needs to reach this memory
    """

    def __init__(self, name: str, memory: Iterable[Row]) -> None:
        # Without this mode, which not all of UCX's transports have, nobody is told that a peer has died.
        super().__init__(name, "UCX", {"ucx_error_handling_mode": "peer"}, memory)
        self.metadata: bytes = self._agent.get_agent_metadata()

    def meet(self, metadata: bytes) -> None:
        """Get to know the peer.

        Raises:
            NixlTransferFailed: these are no agent's metadata.
        """
        try:
            name: str | bytes = self._agent.add_remote_agent(metadata)  # documented as text; it gives bytes
        except Exception as error:
            raise NixlTransferFailed(repr(error)) from error
        self._peer = name.decode() if isinstance(name, bytes) else name

    def end(self, unfinished: Iterable[Handle]) -> None:
        """End it, whatever is under way: from here on it neither reads nor writes, and what peers send does not land.

        Args:
            unfinished: transfers that are not over. To release them would let them write on.
        """
        for handle in (*unfinished, *self._unreleased):
            transfer = handle.transfer
            transfer._released, transfer._agent = True, None  # noqa: SLF001 - else its end releases it, or keeps the agent
        self._unreleased.clear()
        self._agent.agent = None  # the last reference to what is not Python

    def _make(self, api: Any, name: str) -> Any:  # noqa: ANN401 - NIXL's own
        with _substituting:
            bindings, api.nixlBind = api.nixlBind, _Patient(api.nixlBind)
            try:
                return api.nixl_agent(name, api.nixl_agent_config(backends=[], enable_prog_thread=True))
            finally:
                api.nixlBind = bindings

    def _describe(self, far: Sequence[Far]) -> Any:  # noqa: ANN401 - NIXL's own
        return self._agent.get_xfer_descs([(each.offset, each.size, 0) for each in far], "DRAM")


class _Patient:
    """NIXL's bindings, with agents whose progress thread waits: its Python has no other way to say so."""

    def __init__(self, bindings: Any) -> None:  # noqa: ANN401 - a module of NIXL's
        self._bindings = bindings

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the bindings have
        return getattr(self._bindings, name)

    def nixlAgent(self, name: str, config: Any) -> Any:  # noqa: ANN401, N802 - the bindings' own name and types
        if not hasattr(config, "pthrDelay"):
            raise AttributeError("this NIXL has no pthrDelay: its progress thread would take a whole core")
        config.pthrDelay = PROGRESS_PAUSE_US
        return self._bindings.nixlAgent(name, config)
