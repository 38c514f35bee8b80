"""The mover between memory and disk by NIXL's POSIX engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kvbm_events.schema import TierName
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.job_book import wall_clock_us
from kvbm_tiers.nixl_agent import Engine, PosixAgent, Row
from kvbm_tiers.nixl_host_mover import NixlHostMover
from kvbm_tiers.nixl_mover import BATCH_BLOCKS_MAX
from kvbm_tiers.nixl_sides import SlabSide
from kvbm_tiers.store import Store


class NixlPosixMover(NixlHostMover):
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
        """See `NixlMover`; `engine` is what the kernel is asked through."""
        self._engine: Engine = engine
        super().__init__(stores, blocks_max=blocks_max, hang_s=hang_s, patience_s=patience_s, now_us=now_us)

    def _side(self, store: Store) -> SlabSide | None:
        return SlabSide(store, BATCH_BLOCKS_MAX) if isinstance(store, DiskSlab) else None

    def _agent(self, name: str, memory: Sequence[Row]) -> PosixAgent:
        slabs = [store for store in self._stores.values() if isinstance(store, DiskSlab)]
        return PosixAgent(name, self._engine, memory, [(0, slab.size, slab.fd) for slab in slabs])
