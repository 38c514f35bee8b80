"""The mover between stores here and a host's memory, by NIXL's UCX engine: the source pushes, and who gets the bytes proves them.

Each lane has one batch at a time, and waits for it. A batch whose session broke has failed, and is in doubt until it is known
that nobody writes it any more; its lane goes on with the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Thread

import structlog

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import KvbmError
from kvbm_tiers.block_move import reason_of
from kvbm_tiers.booked import Booked
from kvbm_tiers.errors import SessionOver
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.host_rows import HostRows
from kvbm_tiers.job_book import Batch, JobBook, Outcome, wall_clock_us
from kvbm_tiers.mover import Job
from kvbm_tiers.remote.flight import RemoteFlight
from kvbm_tiers.remote.session import Session
from kvbm_tiers.remote.store import RemoteMemory
from kvbm_tiers.store import Store, one_layout
from kvbm_tiers.syncer import Syncer

_logger = structlog.get_logger(__name__)
LANES = 4
BATCH_BYTES = 16 << 20
BATCH_BLOCKS_MIN, BATCH_BLOCKS_MAX = 8, 256


class NixlUcxMover(Booked):
    """Moves between the remote memory of one tier and the other stores."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        tier: TierName,
        *,
        blocks_max: int = 1 << 16,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Register arenas and bounces, and start the threads.

        Args:
            stores: by tier, all of one layout
            tier: the one whose store is a `RemoteMemory`
            blocks_max: how many may be under way; a job beyond that is reported as failed
            patience_s: how long `close` waits for what is under way
            now_us: the clock that deadlines are told by

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
            MemoryUnavailable: the memory's host went away.
            NamespaceMismatch: the stores are not of one layout.
        """
        remote = stores[tier]
        assert isinstance(remote, RemoteMemory)  # noqa: S101 - that is what `tier` says
        self._tier, self._remote, self._patience_s = tier, remote, patience_s
        layout = one_layout(stores.values())
        count = min(BATCH_BLOCKS_MAX, max(BATCH_BLOCKS_MIN, BATCH_BYTES // layout.slot_bytes))
        book = JobBook(length_bytes=layout.block_bytes, batch_blocks=count, blocks_max=blocks_max, now_us=now_us)
        super().__init__(book, stores)
        arenas = [store.memory for store in stores.values() if isinstance(store, HostArena | HostRows)]
        remote.connect(arenas, [count * layout.slot_bytes] * LANES)
        self._syncer = Syncer(self._book, self._stores)
        self._lanes = [Thread(target=self._work, args=(at,), name=f"ucx-lane-{at}", daemon=True) for at in range(LANES)]
        for lane in self._lanes:
            lane.start()

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        known = {job.source, job.tier} <= self._stores.keys() and (job.source == self._tier) != (job.tier == self._tier)
        self._take_job(job, "" if known else f"this mover has no path from {job.source} to {job.tier}")

    def close(self) -> None:
        """See `Mover.close`. What does not end is ended with the remote memory, which is closed afterwards."""
        self._book.close()
        end = time.monotonic() + self._patience_s
        for lane in self._lanes:
            lane.join(max(0.0, end - time.monotonic()))
        if stuck := [lane.name for lane in self._lanes if lane.is_alive()]:
            _logger.warning("transfers with a memory host did not end", host=self._remote.name, lanes=stuck)
        self._syncer.close(self._patience_s)

    def _work(self, lane: int) -> None:
        while batch := self._book.take():
            try:
                session = self._remote.link.session()
            except KvbmError as error:  # the host is known to be away, and nothing has begun
                self._finish(batch, [Outcome(reason=str(error))] * len(batch.blocks))
            else:
                self._move(batch, session, session.bounces[lane])

    def _move(self, batch: Batch, session: Session, bounce: memoryview) -> None:
        is_write = batch.job.tier == self._tier
        near = self._stores[batch.job.source if is_write else batch.job.tier]
        flight = RemoteFlight(batch, near, self._remote, is_write=is_write, bounce=bounce)
        try:
            outcomes = [] if batch.is_given_up else flight.fly(session)
        except SessionOver as error:
            self._book.give_up(batch, str(error))
            # Whoever is still waiting for it keeps its memory: the bounce is the session's, and stays with the flight.
            self._remote.link.doubts.add(session.number, lambda: self._settle(flight), here=not is_write)
        except KvbmError as error:  # the host refused it, and nothing has begun
            self._finish(batch, [Outcome(reason=reason_of(error))] * len(batch.blocks))
        else:
            self._finish(batch, outcomes)

    def _finish(self, batch: Batch, outcomes: list[Outcome]) -> None:
        if self._book.finish(batch, outcomes):
            self._syncer.conclude(batch)

    def _settle(self, flight: RemoteFlight) -> None:
        """Nobody writes what was in doubt any more."""
        self._book.finish(flight.batch, [])
