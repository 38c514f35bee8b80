"""attach: the memory of a rank is there, and what it no longer holds goes. free_quarantined: a person's word for slots."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kvbm_events.schema import Attached, Contents, TierName
from kvbm_statemachine.decide.desk import Desk
from kvbm_statemachine.decide.evict import evict
from kvbm_statemachine.decide.transfer import fail_transfer
from kvbm_statemachine.tier import Tier


def attach(desk: Desk, *, rank: int, holder: str, contents: Sequence[Contents]) -> dict[TierName, int]:
    """Take note of a rank's memory. Where its contents are not those that the blocks of a tier are of, all of them go.

    What is under way from or to such a tier has failed; its slots are quarantined until its mover says that it stopped.
    Of a tier of which the rank never told, the blocks are believed to be there: only who fills the fastest tier
    registers blocks before that. A tier that the instance does not have is passed over, and one in which an engine
    decides keeps its blocks.

    Args:
        desk: the owner's desk
        rank: whose memory
        holder: who has it, for people
        contents: of its tiers, each once

    Returns:
        By tier that was reset, how many blocks went.
    """
    state = desk.state
    news = [each for each in contents if each.tier in state.tiers]
    gone: dict[TierName, int] = {}
    for each in news:
        tier = state.tiers[each.tier]
        if tier.contents.get(rank, each.name) != each.name and not tier.observed:
            gone[tier.name] = _reset(desk, tier, f"rank {rank}", f"{holder}, rank {rank}")
    if any(state.tiers[each.tier].contents.get(rank) != each.name for each in news):
        desk.emit(
            Attached(epoch=state.epoch, n=state.n + 1, at_us=desk.now_us, rank=rank, holder=holder, contents=news)
        )
    return gone


def _reset(desk: Desk, tier: Tier, whose: str, actor: str) -> int:
    for transfer in list(desk.state.transfers.values()):
        if transfer.open and tier.name in {transfer.source, transfer.tier}:
            fail_transfer(desk, transfer.id, reason=f"{tier.name} of {whose} was reset", stopped=False)
    return evict(desk, tier.name, list(tier.lineage.index), reason="reset", actor=actor)


def free_quarantined(desk: Desk, tiers: Collection[TierName], *, actor: str) -> int:
    """Say on a person's word that nobody writes any more to the quarantined slots of these tiers; how many are free now.

    If that was not so, blocks that come there later may be overwritten: their checksums will tell, once they are read.
    """
    freed = 0
    for transfer in list(desk.state.transfers.values()):
        slots = sorted(transfer.quarantined) if transfer.tier in tiers else []
        if slots:
            fail_transfer(desk, transfer.id, reason="freed by an operator", slots=slots, actor=actor)
            freed += len(slots)
    return freed
