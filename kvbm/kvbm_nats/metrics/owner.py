"""An owner's gauges, from its status: read when somebody asks."""

from __future__ import annotations

from kvbm_nats.metrics import catalog
from kvbm_nats.metrics.families import Families
from kvbm_nats.status import PathStatus, PeerStatus, Status

STATES = ("free", "allocated", "registered", "condemned", "quarantined")


def tell_log(families: Families, instance: str, *, epoch: int, acked_n: int, pending: int) -> None:
    """How the log takes what the owner decides. These are known however long the owner waits for it."""
    families.add(catalog.EPOCH, epoch, instance)
    families.add(catalog.ACKED, acked_n, instance)
    families.add(catalog.PENDING, pending, instance)


def tell_status(families: Families, status: Status) -> None:
    """Slots, requests, paths, workers and peers."""
    name = status.instance
    families.add(catalog.REQUESTS, status.requests, name)
    for tier in status.tiers:
        for state in STATES:
            families.add(catalog.SLOTS, getattr(tier, state), name, tier.tier, state)
    for path in status.paths:
        _tell_path(families, name, path)
    for worker in status.workers:
        families.add(catalog.HEARTBEAT, worker.silent_s, name, worker.rank, "owner")
    for peer in status.peers:
        _tell_peer(families, name, peer)


def _tell_path(families: Families, name: str, path: PathStatus) -> None:
    families.add(catalog.WAITING, path.waiting, name, path.source, path.tier)
    families.add(catalog.IN_FLIGHT, path.blocks, name, path.source, path.tier)
    for reason, blocks in (path.dropped | path.refused).items():
        families.add(catalog.DROPPED, blocks, name, path.source, path.tier, reason)


def _tell_peer(families: Families, name: str, peer: PeerStatus) -> None:
    families.add(catalog.PEER_BLOCKS, peer.blocks, name, peer.name, "known")
    families.add(catalog.PEER_BLOCKS, peer.passed_over, name, peer.name, "passed_over")
    families.add(catalog.PEER_CURRENT, peer.is_current, name, peer.name)
