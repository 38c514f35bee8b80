"""Where a fold of an instance's whole log begins: at its first event, or where the log was trimmed to."""

from __future__ import annotations

from kvbm_events.log import Log, Snapshot
from kvbm_events.schema.errors import LogGap
from kvbm_statemachine import State, digest_of, from_bytes


async def snapshots_of(log: Log, instance: str) -> list[Snapshot]:
    """Every snapshot of the instance, oldest first."""
    found: list[Snapshot] = []
    until: int | None = None
    while snapshot := await log.load_snapshot(instance, until):
        found.append(snapshot)
        until = snapshot.seq - 1
    return found[::-1]


async def beginning(log: Log, instance: str, snapshots: list[Snapshot]) -> tuple[State, int]:
    """The state to begin with, and the log sequence after which to read: the oldest that can be had.

    Raises:
        LogGap: the log was trimmed, and no snapshot of it is whole.
    """
    try:
        async for _ in log.read(instance, after=0, until=await log.last_seq(instance)):
            break
    except LogGap:
        for snapshot in snapshots:
            if digest_of(snapshot.state) == snapshot.digest:
                return from_bytes(snapshot.state), snapshot.seq
        raise
    return State(), 0
