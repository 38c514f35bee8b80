"""One NIXL agent in a thread of its own: flights are handed to it, it posts and polls them, and tells who landed.

A lane is leave to be under way, and the bounce that goes with it. A transfer that does not end keeps its lane, its handle
and its memory until it does; an agent that has some left when it is closed is parked with all that they may still write to.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, NamedTuple, TypeVar

import structlog

from kvbm_tiers.flight import Flight
from kvbm_tiers.memory import address_of
from kvbm_tiers.nixl_agent import NixlAgent, NixlTransferFailed, Row

_logger = structlog.get_logger(__name__)
LANES = 4
POLL_MIN_S, POLL_MAX_S = 50e-6, 200e-6
POLL_RETIRED_S = 0.01
LAST_LOOK_S = 1.0
"""How long a thread may take to see that it is over."""
B = TypeVar("B")
_Laned = tuple[int, Flight]
_numbers = itertools.count()
_parked: list[object] = []
"""Agents whose transfers never ended, with all that these may still write to: let go of, they would be released."""


class DeviceMemory(NamedTuple):
    """Memory of a GPU, and who keeps it."""

    address: int
    size: int
    device: int
    keeper: object


class AgentThread(Generic[B]):
    """See the module.

    :ivar bounces: one a lane
    :ivar lanes: that are free; None where nobody may take off any more
    """

    def __init__(
        self,
        make: Callable[[str, Sequence[Row]], NixlAgent],
        bounces: Sequence[B],
        memories: list[memoryview | DeviceMemory],
        landed: Callable[[AgentThread[B], int, Flight], None],
    ) -> None:
        """Start the thread, and make the agent in it.

        Args:
            make: an agent of this name, with this memory registered
            bounces: what each of the `LANES` lanes has for its blocks
            memories: all that blocks may lie in, bounces included; the list is the thread's own from here on
            landed: called in the thread with this, a lane, and its flight that is over; who settled it puts the lane back

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
        """
        self.lanes = SimpleQueue[int | None]()
        self._make, self._landed = make, landed
        self.bounces = bounces
        self._ready = SimpleQueue[_Laned | None]()
        self._launches = self._landings = 0
        self._give_up_at_s = float("inf")
        for lane in range(LANES):
            self.lanes.put(lane)
        started = Future[None]()
        self._thread = Thread(target=self._run, args=(memories, started), name="nixl-agent", daemon=True)
        self._thread.start()
        started.result()

    @property
    def under_way(self) -> int:
        """Transfers that were launched and have not landed."""
        return self._launches - self._landings

    def launch(self, lane: int, flight: Flight) -> None:
        """Take a flight that is prepared, over a lane's bounce. Called from one thread."""
        self._launches += 1
        self._ready.put((lane, flight))

    def retire(self) -> None:
        """Nobody takes off any more. What is under way lands, if it ever does, and then the agent is closed."""
        self._ready.put(None)

    def close(self, patience_s: float) -> None:
        """Retire, and wait so long for what is under way. What does not end is left to itself with its memory."""
        self._give_up_at_s = time.monotonic() + patience_s
        self.retire()
        self._thread.join(patience_s + LAST_LOOK_S)

    def _run(self, memories: list[memoryview | DeviceMemory], started: Future[None]) -> None:
        rows = [*map(_row_of, memories)]
        try:
            agent = self._make(f"kvbm-{os.getpid()}-{next(_numbers)}", rows)
        except BaseException as error:  # noqa: BLE001 - whoever starts the thread is told
            memories.clear()  # the error's traceback would keep them mapped, and their files locked
            started.set_exception(error)
            return
        started.set_result(None)
        flying = list[_Laned]()
        try:
            self._fly(agent, flying)
        finally:
            if flying:
                _parked.append((agent, flying, memories))
                _logger.warning("transfers did not end; their memory stays with them", transfers=len(flying))
            else:
                agent.close()

    def _fly(self, agent: NixlAgent, flying: list[_Laned]) -> None:
        """Post and poll until the end. What is left in `flying` when patience is over is still under way."""
        is_open, pause_s = True, POLL_MIN_S
        while (is_open or flying) and time.monotonic() < self._give_up_at_s:
            is_open = is_open and self._take_off(flying)
            before = len(flying)
            flying[:] = [(lane, flight) for lane, flight in flying if not self._advance(agent, lane, flight)]
            pause_max_s = POLL_MAX_S if is_open else POLL_RETIRED_S
            pause_s = POLL_MIN_S if len(flying) < before else min(pause_max_s, pause_s * 1.5)
            if flying:
                time.sleep(pause_s)

    def _take_off(self, flying: list[_Laned]) -> bool:
        """All that are ready; with none under way, wait for one. Whether more may come."""
        try:
            while ready := self._ready.get(block=not flying):
                flying.append(ready)
        except Empty:
            return True
        return False

    def _advance(self, agent: NixlAgent, lane: int, flight: Flight) -> bool:
        """Look at what is under way, and post what waits; whether the flight has landed."""
        for handle, group in list(flight.flying):
            try:
                if not agent.is_over(handle):
                    continue
            except NixlTransferFailed as error:
                flight.fail(group, error)
            agent.release(handle)
            flight.flying.remove((handle, group))
        while flight.waiting:
            group = flight.waiting.popleft()
            try:
                flight.flying.append((agent.post("WRITE" if flight.is_write else "READ", *flight.rows(group)), group))
            except NixlTransferFailed as error:
                flight.fail(group, error)
        if flight.is_over:
            self._landings += 1
            self._landed(self, lane, flight)
        return flight.is_over


def _row_of(memory: memoryview | DeviceMemory) -> Row:
    if isinstance(memory, DeviceMemory):
        return memory.address, memory.size, memory.device
    return address_of(memory), len(memory), 0
