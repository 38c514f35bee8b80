"""A mover by NIXL: many blocks under way, few threads, no copy on the way where a block lies packed in memory.

    taker: a batch, hashed ──▶ agent: posts and polls ──▶ settlers: hashed, then synced and reported
       ▲                                                     │
       └───────────────────── lanes ◀────────────────────────┘

NIXL can lose the end of a transfer for good. When none of an agent's transfers ends for `hang_s`, another agent takes over;
the blocks of the one before stay in doubt until its transfers end, if they ever do. When too many hang, threads take over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty
from threading import Thread
from typing import Generic, TypeVar

import structlog

from kvbm_events.schema import TierName
from kvbm_tiers.agent_thread import LANES, AgentThread, DeviceMemory
from kvbm_tiers.booked import Booked
from kvbm_tiers.copy_threads import CopyThreads
from kvbm_tiers.errors import NixlUnavailable
from kvbm_tiers.flight import Flight
from kvbm_tiers.job_book import Batch, JobBook, wall_clock_us
from kvbm_tiers.mover import Job
from kvbm_tiers.nixl_agent import NixlAgent, Row
from kvbm_tiers.store import Store, one_layout
from kvbm_tiers.syncer import Syncer

_logger = structlog.get_logger(__name__)
B = TypeVar("B")
BATCH_BYTES = 16 << 20
BATCH_BLOCKS_MIN, BATCH_BLOCKS_MAX = 8, 32
HANGING_MAX = 4
"""Agents that hang at the same time, each with the memory of its lanes, before there is no other one."""


class NixlMover(Booked, ABC, Generic[B]):
    """Moves blocks of its stores. A subclass says between which, and what they go over."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        *,
        blocks_max: int = 1 << 16,
        hang_s: float,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Start the threads, and register memory and files.

        Args:
            stores: by tier, all of one layout
            blocks_max: how many may be under way; a job beyond that is reported as failed
            hang_s: how long no transfer may end before another agent takes over
            patience_s: how long `close` waits for what is under way
            now_us: the clock that deadlines are told by

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
            NamespaceMismatch: the stores are not of one layout.
        """
        layout = one_layout(stores.values())
        count = min(BATCH_BLOCKS_MAX, max(BATCH_BLOCKS_MIN, BATCH_BYTES // layout.slot_bytes))
        book = JobBook(length_bytes=layout.block_bytes, batch_blocks=count, blocks_max=blocks_max, now_us=now_us)
        super().__init__(book, stores)
        self._hang_s, self._patience_s = hang_s, patience_s
        self._slot_bytes, self._batch_blocks = layout.slot_bytes, count
        self._is_closing = False
        self._agents = [self._start_agent()]
        self._threads: CopyThreads | None = None
        self._settlers = ThreadPoolExecutor(2, thread_name_prefix="nixl-settler")
        self._syncer = Syncer(self._book, self._stores)
        self._taker = Thread(target=self._take, name="nixl-taker", daemon=True)
        self._taker.start()

    @abstractmethod
    def _flaw(self, job: Job) -> str:
        """Why a job cannot be done, empty if it can. Called for each when it is submitted."""

    @abstractmethod
    def _bounces(self) -> list[B]:
        """What each lane of another agent has for its blocks."""

    @abstractmethod
    def _memories(self, bounces: Sequence[B]) -> list[memoryview | DeviceMemory]:
        """All that an agent with these bounces moves blocks to and from."""

    @abstractmethod
    def _agent(self, name: str, memory: Sequence[Row]) -> NixlAgent:
        """An agent that reaches the far sides, with this memory registered. Called in its own thread."""

    @abstractmethod
    def _flight(self, batch: Batch, bounce: B) -> Flight:
        """A batch that is to go over this bounce."""

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        self._take_job(job, self._flaw(job))

    def close(self) -> None:
        """See `Mover.close`. Transfers that do not end are left to themselves, with the memory that they write to."""
        self._is_closing = True
        self._book.close()
        for agent in self._agents:
            agent.lanes.put(None)
        self._taker.join(self._patience_s)
        *hanging, agent = self._agents
        for each in hanging:
            each.close(0)
        agent.close(self._patience_s)
        self._settlers.shutdown()
        if self._threads:
            self._threads.join(self._patience_s)
        self._syncer.close(self._patience_s)

    def _start_agent(self) -> AgentThread[B]:
        bounces = self._bounces()
        return AgentThread(self._agent, bounces, self._memories(bounces), self._on_landed)

    def _take(self) -> None:
        """Launch batches, each over a lane of an agent that works."""
        agent: AgentThread[B] | None = self._agents[0]
        while agent and not self._is_closing:
            try:
                lane = agent.lanes.get(timeout=self._hang_s)
            except Empty:
                if agent.under_way == LANES:
                    agent = self._replace(agent)
                continue
            if lane is None or not (batch := self._book.take()):
                return
            flight = self._flight(batch, agent.bounces[lane])
            flight.prepare()
            agent.launch(lane, flight)

    def _replace(self, agent: AgentThread[B]) -> AgentThread[B] | None:
        """Another agent for one that hangs; None where threads took over."""
        agent.retire()
        hanging = [each for each in self._agents if each.under_way]
        _logger.error(
            "none of NIXL's transfers ends", seconds=self._hang_s, agents=len(hanging), agents_max=HANGING_MAX
        )
        try:
            if len(hanging) < HANGING_MAX:
                fresh = self._start_agent()
                self._agents = [*hanging, fresh]
                return fresh
            why = f"{HANGING_MAX} agents hang"
        except NixlUnavailable as error:
            why = str(error)
        _logger.error("blocks go by threads from now on, not by NIXL", why=why)
        self._threads = CopyThreads(self._book, self._stores, self._syncer, slot_bytes=self._slot_bytes)
        return None

    def _on_landed(self, agent: AgentThread[B], lane: int, flight: Flight) -> None:
        with suppress(RuntimeError):  # it landed after the mover was closed
            self._settlers.submit(self._settle, agent, lane, flight)

    def _settle(self, agent: AgentThread[B], lane: int, flight: Flight) -> None:
        outcomes = flight.settle()
        agent.lanes.put(lane)
        if self._book.finish(flight.batch, outcomes):
            self._syncer.conclude(flight.batch)
