"""What an owner's status says: workers, tiers, paths, peers, and how far the log is behind."""

from __future__ import annotations

from kvbm_nats.check.finding import Finding, Level, Value, level_of, worst
from kvbm_nats.check.limits import Limit, Limits
from kvbm_nats.status import EVICTABLE_MAX, Status, TierStatus, WorkerStatus


def look_at_status(status: Status, limits: Limits) -> list[Finding]:
    """Every check that the status is enough for."""
    findings = [_tiers(status, limits), _quarantine(status, limits), _waiting(status, limits)]
    if status.workers:
        findings.insert(0, _workers(status.workers, limits))
    if status.peers:
        findings.append(_peers(status))
    return [*findings, _unwritten(status, limits)]


def _workers(workers: list[WorkerStatus], limits: Limits) -> Finding:
    values = [_value(f"rank {each.rank}", each.silent_s, limits.silent_s, "s") for each in workers]
    wrong: list[str] = []
    level: Level = level_of(values)
    for worker, value in zip(workers, values, strict=True):
        if worker.refused:
            wrong.append(f"rank {worker.rank}: a worker was refused: {worker.refused}")
            level = worst([level, "warning"])
        if not worker.incarnation or worker.ended:
            wrong.append(f"rank {worker.rank} {'ended' if worker.ended else 'never came'}")
            level = "critical"
        elif value.value >= value.warning:
            wrong.append(f"rank {worker.rank} is silent for {worker.silent_s:.1f} s")
    return Finding(name="workers", level=level, what="; ".join(wrong) or f"{len(workers)} heard", values=values)


def _tiers(status: Status, limits: Limits) -> Finding:
    """An engine makes room in the tiers that it decides in."""
    owned = [tier for tier in status.tiers if tier.control != "observed"]
    values = [_value(tier.tier, _hopeless(tier), limits.full) for tier in owned]
    wrong = [
        f"{tier.tier} is {value.value:.0%} full and nothing in it can be evicted"
        for tier, value in zip(owned, values, strict=True)
        if value.value >= value.warning
    ]
    return Finding(name="tiers", level=level_of(values), what="; ".join(wrong) or "room in all", values=values)


def _hopeless(tier: TierStatus) -> float:
    """The share that is taken, were it not for what can be evicted; 0 where that is as much as was counted up to."""
    if (tier.evictable or 0) >= min(EVICTABLE_MAX, tier.capacity):
        return 0.0
    return (tier.capacity - tier.free - (tier.evictable or 0)) / tier.capacity


def _quarantine(status: Status, limits: Limits) -> Finding:
    values = [_value(tier.tier, tier.quarantined, limits.quarantined) for tier in status.tiers]
    found = ", ".join(f"{tier.quarantined:,} in {tier.tier}" for tier in status.tiers if tier.quarantined)
    what = f"slots that may still be written to: {found}" if found else "no slots"
    return Finding(name="quarantine", level=level_of(values), what=what, values=values)


def _waiting(status: Status, limits: Limits) -> Finding:
    values = [
        _value(f"{path.source} to {path.tier}", path.waiting / path.waiting_max, limits.waiting)
        for path in status.paths
        if path.waiting_max
    ]
    waiting = sum(path.waiting for path in status.paths)
    return Finding(name="waiting", level=level_of(values), what=f"{waiting:,} blocks for their path", values=values)


def _peers(status: Status) -> Finding:
    """One that is met by a pattern, and has another namespace, is not meant."""
    meant = [peer for peer in status.peers if peer.is_named or peer.namespace in {"", status.namespace}]
    wrong = [f"{peer.name}: {why}" for peer in meant if (why := peer.wrong(status.namespace))]
    what = "; ".join(wrong) or f"{len(meant)} read in time"
    return Finding(name="peers", level="warning" if wrong else "ok", what=what)


def _unwritten(status: Status, limits: Limits) -> Finding:
    behind = max(0, status.n - status.acked_n)
    values = [_value("", behind, limits.unwritten)]
    return Finding(name="unwritten", level=level_of(values), what=f"{behind:,} events are not stored", values=values)


def _value(of: str, value: float, limit: Limit, unit: str = "") -> Value:
    return Value(of=of, value=value, unit="s" if unit else "", warning=limit.warning, critical=limit.critical)
