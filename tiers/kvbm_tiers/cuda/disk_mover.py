"""The mover between a GPU's memory and disk that does not pass host memory, by NIXL's plug-in for GPUDirect Storage.

Whether there is such a thing on a machine, `gds` asks, in a process of its own. Which plug-in is used, and whose memory that
takes, is told: tests run all of this by the POSIX plug-in over a device whose memory is host memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from kvbm_events.schema import TierName
from kvbm_kernels.errors import CudaFailed
from kvbm_kernels.hashing import BLOCK_BYTES_MIN
from kvbm_tiers.agent_thread import LANES, DeviceMemory
from kvbm_tiers.cuda.bay import Bay
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.cuda.device_flight import DeviceFlight
from kvbm_tiers.cuda.gds import GDS_NAME, prepare_gds
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.job_book import Batch, wall_clock_us
from kvbm_tiers.mover import Job
from kvbm_tiers.nixl_agent import MemoryKind, NixlAgent, Row
from kvbm_tiers.nixl_mover import BATCH_BLOCKS_MAX, NixlMover
from kvbm_tiers.nixl_sides import SlabSide
from kvbm_tiers.store import Store, the_only


class Plugin(NamedTuple):
    """One of NIXL's, what it is told, and whose memory it takes."""

    name: str
    kind: MemoryKind
    parameters: Mapping[str, str] = {}


GDS = Plugin(GDS_NAME, "VRAM")


class NixlDeviceMover(NixlMover[Bay]):
    """Moves between the one `CudaDevice` and the one `DiskSlab` among its stores."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        *,
        plugin: Plugin = GDS,
        blocks_max: int = 1 << 16,
        hang_s: float = 10.0,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """See `NixlMover`.

        Raises:
            ValueError: there is not one of each, or blocks are too short to be hashed on the device.
            CudaFailed: the device has no room.
        """
        self._device_tier, self._device = the_only(stores, CudaDevice)
        self._slab_tier, self._slab = the_only(stores, DiskSlab)
        if self._device.layout.block_bytes < BLOCK_BYTES_MIN:
            raise ValueError(f"blocks of less than {BLOCK_BYTES_MIN} bytes are not hashed on a device")
        self._side, self._plugin = SlabSide(self._slab, BATCH_BLOCKS_MAX), plugin
        self._bays = list[Bay]()
        try:
            super().__init__(stores, blocks_max=blocks_max, hang_s=hang_s, patience_s=patience_s, now_us=now_us)
        except BaseException:
            self._close_bays()
            raise

    def close(self) -> None:
        """See `Mover.close`. While a transfer has not ended, all that it may read or write on the device is kept."""
        super().close()
        if any(agent.under_way for agent in self._agents):
            self._device.leave()
        else:
            self._close_bays()

    def _flaw(self, job: Job) -> str:
        if {job.source, job.tier} != {self._device_tier, self._slab_tier}:
            return f"this mover has no path from {job.source} to {job.tier}"
        try:
            self._device.mark()
        except CudaFailed as error:
            return str(error)
        return ""

    def _bounces(self) -> list[Bay]:
        with ExitStack() as taken:
            bays = list[Bay]()
            for _ in range(LANES):
                bays.append(Bay(self._device.pool, self._batch_blocks))
                taken.callback(bays[-1].close)
            taken.pop_all()
        self._bays += bays
        return bays

    def _memories(self, bounces: Sequence[Bay]) -> list[memoryview | DeviceMemory]:
        index, capacity = self._device.driver.index, self._device.capacity
        memories: list[memoryview | DeviceMemory] = [DeviceMemory(bay.address, bay.size, index, bay) for bay in bounces]
        if first := self._device.pool.whole(0):
            size = self._device.pool.whole(capacity - 1) + self._slot_bytes - first
            memories.append(DeviceMemory(first, size, index, self._device))
        return memories

    def _agent(self, name: str, memory: Sequence[Row]) -> NixlAgent:
        if self._plugin == GDS:
            prepare_gds()
        files = [(0, self._slab.size, self._slab.fd)]
        return NixlAgent(name, self._plugin.name, self._plugin.parameters, memory, files, kind=self._plugin.kind)

    def _flight(self, batch: Batch, bounce: Bay) -> DeviceFlight:
        is_write = batch.job.tier == self._slab_tier
        return DeviceFlight(batch, self._device, self._side, is_write=is_write, bay=bounce)

    def _close_bays(self) -> None:
        for bay in self._bays:
            bay.close()
