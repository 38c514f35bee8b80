"""A mover by NIXL between host memory and what lies far; a GPU's blocks go over a bounce, which is pinned."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

from kvbm_events.schema import TierName
from kvbm_tiers.agent_thread import LANES, DeviceMemory
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.host_flight import HostFlight
from kvbm_tiers.host_rows import HostRows
from kvbm_tiers.job_book import Batch
from kvbm_tiers.memory import anonymous
from kvbm_tiers.mover import Job
from kvbm_tiers.nixl_mover import NixlMover
from kvbm_tiers.nixl_sides import Side
from kvbm_tiers.store import Store


class NixlHostMover(NixlMover[memoryview]):
    """Moves between the far sides among its stores and the others. A subclass says what is far, and how it is reached."""

    @cached_property
    def _sides(self) -> dict[TierName, Side]:
        return {tier: side for tier, store in self._stores.items() if (side := self._side(store))}

    @abstractmethod
    def _side(self, store: Store) -> Side | None:
        """The far side that a store is, if it is one."""

    def _flaw(self, job: Job) -> str:
        ends = [tier in self._sides for tier in (job.source, job.tier)]
        known = {job.source, job.tier} <= self._stores.keys() and sum(ends) == 1
        return "" if known else f"this mover has no path from {job.source} to {job.tier}"

    def _bounces(self) -> list[memoryview]:
        bounces = [anonymous(self._batch_blocks * self._slot_bytes) for _ in range(LANES)]
        for device in (store for store in self._stores.values() if isinstance(store, CudaDevice)):
            for bounce in bounces:
                device.pin(bounce)
        return bounces

    def _memories(self, bounces: Sequence[memoryview]) -> list[memoryview | DeviceMemory]:
        return [*bounces, *(store.memory for store in self._stores.values() if isinstance(store, HostArena | HostRows))]

    def _flight(self, batch: Batch, bounce: memoryview) -> HostFlight:
        is_write = batch.job.tier in self._sides
        near, far = (batch.job.source, batch.job.tier) if is_write else (batch.job.tier, batch.job.source)
        return HostFlight(batch, self._stores[near], self._sides[far], is_write=is_write, bounce=bounce)
