"""A tier worker's figures, and those of a mover in the owner's process: read from what they count anyway."""

from __future__ import annotations

from kvbm_nats.metrics import catalog
from kvbm_nats.metrics.families import Families
from kvbm_tiers import Meter
from kvbm_tiers.worker import Worker


def tell_worker(families: Families, instance: str, rank: int, worker: Worker) -> None:
    """When it last said that it lives, and was heard."""
    families.add(catalog.HEARTBEAT, worker.heartbeat_age_s, instance, rank, "worker")


def tell_meter(families: Families, instance: str, rank: int, meter: Meter) -> None:
    """What a rank moved. Its figures are numbers that one thread writes: this one may read them."""
    mismatches: dict[str, int] = {}
    for (source, target), traffic in list(meter.traffic.items()):
        families.add(catalog.WORKER_MOVED, traffic.size_bytes, instance, rank, source, target)
        mismatches[source] = mismatches.get(source, 0) + traffic.corrupt
    for tier, blocks in mismatches.items():
        families.add(catalog.MISMATCHES, blocks, instance, rank, tier)
