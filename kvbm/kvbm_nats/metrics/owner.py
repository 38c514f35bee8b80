"""An owner's gauges, from its status: read when somebody asks."""

from __future__ import annotations

from kvbm_nats.metrics import catalog
from kvbm_nats.metrics.families import Families
from kvbm_nats.status import PathStatus, Status

STATES = ("free", "allocated", "registered", "condemned", "quarantined")


def tell_log(families: Families, instance: str, *, epoch: int, acked_n: int, pending: int) -> None:
    """How the log takes what the owner decides. These are known however long the owner waits for it."""
    families.add(catalog.EPOCH, epoch, instance)
    families.add(catalog.ACKED, acked_n, instance)
    families.add(catalog.PENDING, pending, instance)


def tell_status(families: Families, status: Status) -> None:
    """Slots, requests, paths and workers."""
    name = status.instance
    families.add(catalog.REQUESTS, status.requests, name)
    for tier in status.tiers:
        for state in STATES:
            families.add(catalog.SLOTS, getattr(tier, state), name, tier.tier, state)
    for path in status.paths:
        _tell_path(families, name, path)
    for worker in status.workers:
        families.add(catalog.HEARTBEAT, worker.silent_s, name, worker.rank, "owner")


def _tell_path(families: Families, name: str, path: PathStatus) -> None:
    families.add(catalog.WAITING, path.waiting, name, path.source, path.tier)
    families.add(catalog.IN_FLIGHT, path.blocks, name, path.source, path.tier)
    for reason, blocks in (path.dropped | path.refused).items():
        families.add(catalog.DROPPED, blocks, name, path.source, path.tier, reason)
