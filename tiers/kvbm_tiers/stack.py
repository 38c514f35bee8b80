"""All tiers of an instance on this machine: a store for each, and the mover over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.cpu_device import CpuDevice
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.layout import Layout
from kvbm_tiers.meter import Meter
from kvbm_tiers.routed_mover import open_mover
from kvbm_tiers.store import Opening, Store


class Stack:
    """g1 in the process's memory, in an engine's arrays; g2 and g3 in files that survive it.

    :ivar stores: by tier
    :ivar mover: over all of them, with a count of what it moved
    :ivar openings: by tier that survives, whether its blocks were kept, and why
    """

    def __init__(
        self,
        capacities: Mapping[TierName, int],
        layout: Layout,
        namespace: str,
        *,
        host_folder: Path,
        disk_folder: Path,
        reset: bool = False,
    ) -> None:
        """Open the tiers, or make them.

        Args:
            capacities: by tier, its slots
            layout: of a block in every tier
            namespace: whose blocks they are
            host_folder: where g2's arena lies; shared memory, where it is not to touch a disk
            disk_folder: where g3's slab lies
            reset: start empty, whatever is there

        Raises:
            InvalidCommand: a tier has no store on this machine.
            NamespaceMismatch, StoreBusy, StoreFull, StoreDamaged: see `survivor.claim`.
        """
        self.stores: dict[TierName, Store] = {}
        self.openings: dict[TierName, Opening] = {}
        try:
            for tier, capacity in capacities.items():
                if tier == "g1":
                    self.stores[tier] = CpuDevice(layout, capacity)
                    continue
                kind, path = _survivor(tier, host_folder, disk_folder)
                store = kind(path, namespace=namespace, layout=layout, capacity=capacity, reset=reset)
                self.stores[tier], self.openings[tier] = store, store.opening
            self.mover = Meter(open_mover(self.stores))
        except BaseException:
            self._close_stores()
            raise

    @property
    def kept(self) -> list[TierName]:
        """Tiers whose blocks are still there."""
        return [tier for tier, opening in self.openings.items() if opening.state == "kept"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the mover and let go of the stores. What survives stays."""
        self.mover.close()
        self._close_stores()

    def _close_stores(self) -> None:
        for store in self.stores.values():
            store.close()


def _survivor(tier: TierName, host_folder: Path, disk_folder: Path) -> tuple[type[HostArena | DiskSlab], Path]:
    if tier == "g2":
        return HostArena, host_folder / "g2.arena"
    if tier == "g3":
        return DiskSlab, disk_folder / "g3.slab"
    raise InvalidCommand(f"tier {tier}", why="object storage has no mover yet", hint="leave it out of the plan")
