"""The mover between a GPU's memory and pinned host memory: lanes, each with a thread that hashes and waits for its copies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import structlog

from kvbm_events.schema import TierName
from kvbm_kernels.errors import CudaFailed
from kvbm_tiers.block_move import prove, reason_of
from kvbm_tiers.booked import Booked
from kvbm_tiers.crew import Crew
from kvbm_tiers.cuda.calibrate import calibrate
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.cuda.lane import Lane, Ways
from kvbm_tiers.cuda.pool import give_back
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.job_book import Batch, JobBook, Outcome, wall_clock_us
from kvbm_tiers.memory import address_of
from kvbm_tiers.mover import Job
from kvbm_tiers.store import Store, check_slot, one_layout, the_only
from kvbm_tiers.syncer import Syncer

_logger = structlog.get_logger(__name__)
LANES = 8
BATCH_BYTES = 8 << 20
BATCH_BLOCKS_MAX = 256


class CudaMover(Booked):
    """Moves between the one `CudaDevice` and the one `HostArena` among its stores."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        *,
        ways: Ways | None = None,
        lanes: int = LANES,
        blocks_max: int = 1 << 16,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Pin the arena, find the fastest ways, and start the threads.

        Args:
            stores: by tier, all of one layout
            ways: how blocks go; measured if not given
            lanes: batches under way at once, each with 8 MiB of device memory, or one block if that is larger
            blocks_max: blocks under way; a job beyond that is reported as failed
            patience_s: how long `close` waits for what is under way
            now_us: the clock that deadlines are told by

        Raises:
            ValueError: there is not one of each.
            CudaFailed: the device has no room, or the arena cannot be pinned.
            NamespaceMismatch: the stores are not of one layout.
        """
        layout, self._patience_s = one_layout(stores.values()), patience_s
        self._device_tier, self._device = the_only(stores, CudaDevice)
        self._arena_tier, self._arena = the_only(stores, HostArena)
        count = min(BATCH_BLOCKS_MAX, max(1, BATCH_BYTES // layout.slot_bytes))
        book = JobBook(length_bytes=layout.block_bytes, batch_blocks=count, blocks_max=blocks_max, now_us=now_us)
        super().__init__(book, stores)
        with ExitStack() as taken:
            self._pin(taken)
            self._ways = ways or calibrate(self._device.driver, layout)
            work = [partial(self._move, self._lane(count, taken)) for _ in range(lanes)]
            self._taken = taken.pop_all()
        self._syncer = Syncer(book, stores)
        self._crew = Crew(book, self._syncer, "cuda-lane", work)

    def submit(self, job: Job) -> None:
        """See `Mover.submit`. What the engine has started in its stream until here is over before the copies begin."""
        flaw = ""
        if {job.source, job.tier} != {self._device_tier, self._arena_tier}:
            flaw = f"this mover has no path from {job.source} to {job.tier}"
        else:
            try:
                self._device.mark()
            except CudaFailed as error:
                flaw = str(error)
        self._book.submit(job, flaw)

    def close(self) -> None:
        """See `Mover.close`. What does not end keeps its lane, and the arena stays pinned for it."""
        self._book.close()
        if self._crew.join(self._patience_s):
            give_back(self._taken)
        self._syncer.close(self._patience_s)

    def _pin(self, taken: ExitStack) -> None:
        driver, memory, address = self._device.driver, self._arena.memory, self._arena.address
        started = time.monotonic()
        driver.pin(address, len(memory))
        taken.callback(driver.unpin, address)
        took_s = time.monotonic() - started
        _logger.info("host memory is pinned", size_bytes=len(memory), took_s=round(took_s, 3))

    def _lane(self, blocks: int, taken: ExitStack) -> Lane:
        lane = Lane(self._device.pool, blocks)
        taken.callback(lane.close)
        return lane

    def _move(self, lane: Lane, batch: Batch) -> list[Outcome]:
        """One batch, all the way. It never raises: what went wrong is the outcome."""
        if batch.is_given_up:
            return []
        outcomes = self._check(batch)
        left = [at for at in batch.blocks if at not in outcomes]
        try:
            if left:
                outcomes |= (
                    self._up(lane, batch.job, left) if batch.job.is_onboard else self._down(lane, batch.job, left)
                )
        except Exception as error:  # blocks that failed in an unknown way have failed, and the lane goes on
            _logger.exception("the device failed a batch", transfer=batch.job.transfer)
            outcomes |= dict.fromkeys(left, Outcome(reason=reason_of(error)))
        return [outcomes[at] for at in batch.blocks]

    def _check(self, batch: Batch) -> dict[int, Outcome]:
        """Blocks that cannot be moved."""
        source, target = (self._arena, self._device) if batch.job.is_onboard else (self._device, self._arena)
        flawed = dict[int, Outcome]()
        for at in batch.blocks:
            try:
                check_slot(batch.job.source_slots[at], source.capacity)
                check_slot(batch.job.slots[at], target.capacity)
            except IndexError as error:
                flawed[at] = Outcome(reason=reason_of(error))
        return flawed

    def _down(self, lane: Lane, job: Job, blocks: Sequence[int]) -> dict[int, Outcome]:
        slots, views = [job.source_slots[at] for at in blocks], [self._arena.view(job.slots[at]) for at in blocks]
        lane.down(slots, [*map(address_of, views)], self._ways.down, after=self._device.marked)
        return {at: self._prove(view, job, at) for at, view in zip(blocks, views, strict=True)}

    def _up(self, lane: Lane, job: Job, blocks: Sequence[int]) -> dict[int, Outcome]:
        views = {at: self._arena.view(job.source_slots[at]) for at in blocks}
        outcomes = {at: self._prove(view, job, at) for at, view in views.items()}
        good = [at for at in blocks if not outcomes[at].reason]
        if good:
            addresses = [address_of(views[at]) for at in good]
            lane.up([job.slots[at] for at in good], addresses, self._ways.up, after=self._device.marked)
        return outcomes

    def _prove(self, view: memoryview, job: Job, at: int) -> Outcome:
        return prove(view[: self._arena.layout.block_bytes], job.checksum(at))
