"""What a check found missing is evicted by events, by whoever owns the instance. No file is touched."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import EvictReason, TierName
from kvbm_nats.caretaker import Caretaker
from kvbm_nats.service.messages import MAX_KEYS

ACTOR = "fsck"


async def repair(
    caretaker: Caretaker, corrupt: dict[TierName, list[str]], holes: dict[TierName, list[str]]
) -> dict[TierName, int]:
    """Evict these blocks, and all that stand on them; by tier, how many went.

    Args:
        caretaker: who acts
        corrupt: by tier, keys of blocks with other bytes
        holes: by tier, keys of blocks whose memory was reset
    """
    gone: dict[TierName, int] = {}
    wanted: tuple[tuple[EvictReason, dict[TierName, list[str]]], ...] = (("corrupt", corrupt), ("reset", holes))
    for reason, by_tier in wanted:
        for tier, keys in by_tier.items():
            for part in _parts(keys):
                gone[tier] = gone.get(tier, 0) + await caretaker.evict(part, tier=tier, reason=reason, actor=ACTOR)
    return gone


def _parts(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[at : at + MAX_KEYS] for at in range(0, len(keys), MAX_KEYS)]
