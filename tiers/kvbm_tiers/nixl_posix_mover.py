"""The mover between memory and disk by NIXL's POSIX engine: many blocks a transfer, few threads, no copy on the way.

    taker: a batch, hashed ──▶ agent: posts and polls ──▶ settlers: hashed, then synced and reported
       ▲                                                     │
       └───────────────────── lanes ◀────────────────────────┘

NIXL's engine can lose a transfer for good. When none of an agent's transfers ends for `hang_s`, another agent takes over;
the blocks of the one before stay in doubt until its transfers end, if they ever do. Too many agents that hang, and plain
threads take over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty
from threading import Thread

import structlog

from kvbm_events.schema import TierName
from kvbm_tiers.agent_thread import LANES, AgentThread
from kvbm_tiers.booked import Booked
from kvbm_tiers.copy_threads import CopyThreads
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.errors import NixlUnavailable
from kvbm_tiers.flight import Flight
from kvbm_tiers.job_book import Batch, JobBook, wall_clock_us
from kvbm_tiers.mover import Job
from kvbm_tiers.nixl_agent import Engine
from kvbm_tiers.store import Store, one_layout
from kvbm_tiers.syncer import Syncer

_logger = structlog.get_logger(__name__)
BATCH_BYTES = 16 << 20
BATCH_BLOCKS_MIN, BATCH_BLOCKS_MAX = 8, 32
HANGING_MAX = 4
"""Agents that hang at the same time, each with the memory of its lanes, before there is no other one."""


class NixlPosixMover(Booked):
    """Moves between the slabs among its stores and the others."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        *,
        engine: Engine = "aio",
        blocks_max: int = 1 << 16,
        hang_s: float = 10.0,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Start the threads, and register arenas, slabs and bounces.

        Args:
            stores: by tier, all of one layout
            engine: what the kernel is asked through
            blocks_max: how many may be under way; a job beyond that is reported as failed
            hang_s: how long no transfer may end before another agent takes over
            patience_s: how long `close` waits for what is under way
            now_us: the clock that deadlines are told by

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
            NamespaceMismatch: the stores are not of one layout.
        """
        self._stores, self._hang_s, self._patience_s = dict(stores), hang_s, patience_s
        self._engine: Engine = engine
        layout = one_layout(stores.values())
        self._slot_bytes = layout.slot_bytes
        self._batch_blocks = min(BATCH_BLOCKS_MAX, max(BATCH_BLOCKS_MIN, BATCH_BYTES // layout.slot_bytes))
        super().__init__(
            JobBook(
                length_bytes=layout.block_bytes, batch_blocks=self._batch_blocks, blocks_max=blocks_max, now_us=now_us
            )
        )
        self._is_closing = False
        self._agents = [self._new_agent()]
        self._threads: CopyThreads | None = None
        self._settlers = ThreadPoolExecutor(2, thread_name_prefix="nixl-settler")
        self._syncer = Syncer(self._book, self._stores)
        self._taker = Thread(target=self._take, name="nixl-taker", daemon=True)
        self._taker.start()

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        ends = [isinstance(self._stores.get(tier), DiskSlab) for tier in (job.source, job.tier)]
        known = {job.source, job.tier} <= self._stores.keys() and sum(ends) == 1
        self._book.submit(job, "" if known else f"this mover has no path from {job.source} to {job.tier}")

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

    def _new_agent(self) -> AgentThread:
        return AgentThread(self._stores, self._engine, self._batch_blocks * self._slot_bytes, self._on_landed)

    def _take(self) -> None:
        """Launch batches, each over a lane of an agent that works."""
        agent: AgentThread | None = self._agents[0]
        while agent and not self._is_closing:
            try:
                lane = agent.lanes.get(timeout=self._hang_s)
            except Empty:
                if agent.under_way == LANES:
                    agent = self._replace(agent)
                continue
            if lane is None or not (batch := self._book.take()):
                return
            agent.launch(lane, self._flight(batch, agent.bounce(lane)))

    def _flight(self, batch: Batch, bounce: memoryview) -> Flight:
        source, target = self._stores[batch.job.source], self._stores[batch.job.tier]
        near, slab = (source, target) if isinstance(target, DiskSlab) else (target, source)
        assert isinstance(slab, DiskSlab)  # noqa: S101 - `submit` saw to it
        flight = Flight(batch, near, slab, bounce)
        flight.prepare()
        return flight

    def _replace(self, agent: AgentThread) -> AgentThread | None:
        """Another agent for one that hangs; None where threads took over."""
        agent.retire()
        hanging = [each for each in self._agents if each.under_way]
        _logger.error(
            "none of NIXL's transfers ends", seconds=self._hang_s, agents=len(hanging), agents_max=HANGING_MAX
        )
        try:
            if len(hanging) < HANGING_MAX:
                fresh = self._new_agent()
                self._agents = [*hanging, fresh]
                return fresh
            why = f"{HANGING_MAX} agents hang"
        except NixlUnavailable as error:
            why = str(error)
        _logger.error("blocks go to disk by plain reads and writes in threads from now on, not by NIXL", why=why)
        self._threads = CopyThreads(self._book, self._stores, self._syncer, slot_bytes=self._slot_bytes)
        return None

    def _on_landed(self, agent: AgentThread, lane: int, flight: Flight) -> None:
        with suppress(RuntimeError):  # it landed after the mover was closed
            self._settlers.submit(self._settle, agent, lane, flight)

    def _settle(self, agent: AgentThread, lane: int, flight: Flight) -> None:
        batch = flight.batch
        outcomes = [] if batch.is_given_up else flight.settle()
        agent.lanes.put(lane)
        if self._book.finish(batch, outcomes):
            self._syncer.conclude(batch)
