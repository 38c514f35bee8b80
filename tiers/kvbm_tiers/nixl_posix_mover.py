"""The mover between memory and disk by NIXL's POSIX engine: many blocks a transfer, few threads, no copy on the way.

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
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Thread

import structlog

from kvbm_events.schema import TierName
from kvbm_tiers.booked import Booked
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.flight import Flight
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.job_book import JobBook, wall_clock_us
from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.mover import Job
from kvbm_tiers.nixl_agent import Engine, NixlTransferFailed, PosixAgent
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


class NixlPosixMover(Booked):
    """Moves between the slabs among its stores and the others."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        *,
        engine: Engine = "aio",
        blocks_max: int = 1 << 16,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Start the threads, and register arenas, slabs and bounces.

        Args:
            stores: by tier, all of one layout
            engine: what the kernel is asked through
            blocks_max: how many may be under way; a job beyond that is reported as failed
            patience_s: how long `close` waits for what is under way
            now_us: the clock that deadlines are told by

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
            NamespaceMismatch: the stores are not of one layout.
        """
        self._stores, self._patience_s = dict(stores), patience_s
        layout = one_layout(stores.values())
        count = min(BATCH_BLOCKS_MAX, max(BATCH_BLOCKS_MIN, BATCH_BYTES // layout.slot_bytes))
        super().__init__(
            JobBook(length_bytes=layout.block_bytes, batch_blocks=count, blocks_max=blocks_max, now_us=now_us)
        )
        self._bounces = [anonymous(count * layout.slot_bytes) for _ in range(LANES)]
        for store in stores.values():
            if isinstance(store, CudaDevice):
                for bounce in self._bounces:
                    store.pin(bounce)
        self._lanes, self._ready = SimpleQueue[int | None](), SimpleQueue[tuple[int, Flight] | None]()
        for lane in range(LANES):
            self._lanes.put(lane)
        started = Future[None]()
        self._owner = Thread(target=self._own, args=(engine, started), name="nixl-owner", daemon=True)
        self._owner.start()
        started.result()
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
        self._book.close()
        self._lanes.put(None)
        self._taker.join(self._patience_s)
        self._ready.put(None)
        self._owner.join(2 * self._patience_s)
        self._settlers.shutdown()
        self._syncer.close(self._patience_s)

    def _take(self) -> None:
        while (lane := self._lanes.get()) is not None and (batch := self._book.take()):
            source, target = self._stores[batch.job.source], self._stores[batch.job.tier]
            near, slab = (source, target) if isinstance(target, DiskSlab) else (target, source)
            assert isinstance(slab, DiskSlab)  # noqa: S101 - `submit` saw to it
            flight = Flight(batch, near, slab, self._bounces[lane])
            flight.prepare()
            self._ready.put((lane, flight))

    def _own(self, engine: Engine, started: Future[None]) -> None:
        arenas = [store for store in self._stores.values() if isinstance(store, HostArena)]
        slabs = [store for store in self._stores.values() if isinstance(store, DiskSlab)]
        memories = [*self._bounces, *(arena.memory for arena in arenas)]
        try:
            agent = PosixAgent(
                f"kvbm-{os.getpid()}-{next(_numbers)}",
                engine,
                [(address_of(memory), len(memory), 0) for memory in memories],
                [(0, slab.size, slab.fd) for slab in slabs],
            )
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

    def _fly(self, agent: PosixAgent, flying: list[tuple[int, Flight]]) -> None:
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

    def _advance(self, agent: PosixAgent, lane: int, flight: Flight) -> bool:
        """One step; whether it has come down."""
        try:
            if flight.handle is None:
                if not flight.is_over:
                    flight.handle = agent.post("WRITE" if flight.is_write else "READ", *flight.rows())
            elif agent.is_over(flight.handle):
                agent.release(flight.handle)
                flight.handle = None
                flight.land()
        except NixlTransferFailed as error:
            if flight.handle is not None:
                agent.release(flight.handle)
                flight.handle = None
            flight.fail(error)
        if flight.is_over:
            self._settlers.submit(self._settle, lane, flight)
        return flight.is_over

    def _settle(self, lane: int, flight: Flight) -> None:
        batch = flight.batch
        outcomes = [] if batch.is_given_up else flight.settle()
        self._lanes.put(lane)
        if self._book.finish(batch, outcomes):
            self._syncer.conclude(batch)
