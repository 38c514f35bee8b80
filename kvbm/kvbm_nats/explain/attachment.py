"""What came after blocks were lost with their memory: an owner evicts them, and then notes whose memory is other than it was."""

from __future__ import annotations

from kvbm_events.schema import Attached, TierName
from kvbm_nats.explain.look_up import Told
from kvbm_nats.projection import Projection

EVENTS_MAX = 4096
"""Entries of the log behind the eviction that are looked through: a tier's blocks go by 512 an event."""


async def attached_after(projection: Projection, instance: str, seq: int) -> Told | None:
    """The next `Attached` of an instance soon after a sequence."""
    rows = await projection.journal(instance, types=["Attached"], after=seq, until=seq + EVENTS_MAX, limit=1)
    return Told.of(rows[0]) if rows else None


def why_emptied(told: Told | None, tier: TierName) -> str:
    """What an `Attached` says of a tier's new contents; empty where it says nothing of it."""
    if told is None or not isinstance(told.event, Attached):
        return ""
    for each in told.event.contents:
        if each.tier == tier:
            return f"rank {told.event.rank} of {told.event.holder} came with other contents" + (
                f" ({each.why})" if each.why else ""
            )
    return ""
