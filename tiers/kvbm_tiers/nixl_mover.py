"""A mover by NIXL: many blocks under way, few threads, no copy on the way where a block lies packed in memory.

    taker: a batch, hashed ──▶ owner: posts and polls ──▶ settlers: hashed, then synced and reported
       ▲                                                     │
       └───────────────────── lanes ◀────────────────────────┘

A lane is leave to be under way, and the bounce that goes with it. A transfer that does not end keeps its lane, its
handle and its slots until it does.
"""

from __future__ import annotations

import itertools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Thread

import structlog

from kvbm_events.schema import TierName
from kvbm_tiers.booked import Booked
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.flight import Flight
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.job_book import Batch, JobBook, wall_clock_us
from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.mover import Job
from kvbm_tiers.nixl_agent import NixlAgent, NixlTransferFailed, Row
from kvbm_tiers.nixl_sides import Side
from kvbm_tiers.store import Store, one_layout
from kvbm_tiers.syncer import Syncer

logger = structlog.get_logger(__name__)
LANES = 4
BATCH_BYTES = 16 << 20
BATCH_BLOCKS_MIN, BATCH_BLOCKS_MAX = 8, 32
POLL_MIN_S, POLL_MAX_S = 50e-6, 200e-6
_numbers = itertools.count()
_parked: list[object] = []
"""Agents whose transfers never ended, with all that these may still write to: let go of, they would be released."""


class NixlMover(Booked, ABC):
    """Moves between the far sides among its stores and the others. A subclass says what is far, and how it is reached."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        *,
        blocks_max: int = 1 << 16,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Start the threads, and register arenas, slabs and bounces.

        Args:
            stores: by tier, all of one layout
            blocks_max: how many may be under way; a job beyond that is reported as failed
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
        self._patience_s = patience_s
        self._sides = {tier: side for tier, store in stores.items() if (side := self._side(store, count))}
        self._bounces = [anonymous(count * layout.slot_bytes) for _ in range(LANES)]
        for device in (store for store in stores.values() if isinstance(store, CudaDevice)):
            for bounce in self._bounces:
                device.pin(bounce)
        self._lanes, self._ready = SimpleQueue[int | None](), SimpleQueue[tuple[int, Flight] | None]()
        for lane in range(LANES):
            self._lanes.put(lane)
        started = Future[None]()
        self._owner = Thread(target=self._own, args=(started,), name="nixl-owner", daemon=True)
        self._owner.start()
        started.result()
        self._settlers = ThreadPoolExecutor(2, thread_name_prefix="nixl-settler")
        self._syncer = Syncer(self._book, self._stores)
        self._taker = Thread(target=self._take, name="nixl-taker", daemon=True)
        self._taker.start()

    @abstractmethod
    def _side(self, store: Store, batch_blocks: int) -> Side | None:
        """The far side that a store is, if it is one."""

    @abstractmethod
    def _agent(self, name: str, memory: Sequence[Row]) -> NixlAgent:
        """The agent that reaches the far sides, with this memory registered. Called once, in its own thread."""

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        ends = [tier in self._sides for tier in (job.source, job.tier)]
        known = {job.source, job.tier} <= self._stores.keys() and sum(ends) == 1
        self._take_job(job, "" if known else f"this mover has no path from {job.source} to {job.tier}")

    def close(self) -> None:
        """See `Mover.close`. Transfers that do not end are left to themselves, with the memory that they write to."""
        self._book.close()
        self._lanes.put(None)
        self._taker.join(self._patience_s)
        self._ready.put(None)
        self._owner.join(2 * self._patience_s)
        self._settlers.shutdown()
        self._syncer.close(self._patience_s)

    def _take(self) -> None:
        while (lane := self._lanes.get()) is not None and (batch := self._book.take()):
            flight = self._flight(batch, self._bounces[lane])
            flight.prepare()
            self._ready.put((lane, flight))

    def _flight(self, batch: Batch, bounce: memoryview) -> Flight:
        job = batch.job
        is_write = job.tier in self._sides
        near, far = (job.source, job.tier) if is_write else (job.tier, job.source)
        return Flight(batch, self._stores[near], self._sides[far], is_write=is_write, bounce=bounce)

    def _own(self, started: Future[None]) -> None:
        arenas = [store for store in self._stores.values() if isinstance(store, HostArena)]
        memories = [*self._bounces, *(arena.memory for arena in arenas)]
        rows = [(address_of(memory), len(memory), 0) for memory in memories]
        try:
            agent = self._agent(f"kvbm-{os.getpid()}-{next(_numbers)}", rows)
        except BaseException as error:  # noqa: BLE001 - whoever starts the mover is told
            memories.clear()  # the error's traceback would keep them mapped, and their files locked
            started.set_exception(error)
            return
        started.set_result(None)
        flying = list[tuple[int, Flight]]()
        try:
            self._fly(agent, flying)
        finally:
            if flying:
                _parked.append((agent, flying, memories))
                logger.warning("transfers did not end; their memory stays with them", transfers=len(flying))
            else:
                agent.close()

    def _fly(self, agent: NixlAgent, flying: list[tuple[int, Flight]]) -> None:
        """Post and poll until the end. What is left in `flying` when patience is over is still under way."""
        pause_s, end = POLL_MIN_S, 0.0
        while not end or (flying and time.monotonic() < end):
            try:
                while not end:
                    ready = self._ready.get(block=not flying)
                    if ready is None:
                        end = time.monotonic() + self._patience_s
                    else:
                        flying.append(ready)
            except Empty:
                pass
            before = len(flying)
            flying[:] = [(lane, flight) for lane, flight in flying if not self._advance(agent, lane, flight)]
            pause_s = POLL_MIN_S if len(flying) < before else min(POLL_MAX_S, pause_s * 1.5)
            if flying:
                time.sleep(pause_s)

    def _advance(self, agent: NixlAgent, lane: int, flight: Flight) -> bool:
        """Look at what is under way, and post what waits; whether the flight has come down."""
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
            self._settlers.submit(self._settle, lane, flight)
        return flight.is_over

    def _settle(self, lane: int, flight: Flight) -> None:
        outcomes = flight.settle()
        self._lanes.put(lane)
        if self._book.finish(flight.batch, outcomes):
            self._syncer.conclude(flight.batch)
