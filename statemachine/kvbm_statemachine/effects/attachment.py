"""Attached: which contents the blocks of a tier are of."""

from __future__ import annotations

from kvbm_events.schema import Attached
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.state import State
from kvbm_statemachine.table import SlotState


def attached(state: State, event: Attached, _columns: Columns | None = None) -> None:
    """From here on, what arrives in these tiers is of these contents; no block of others may be left there.

    Where nobody had told yet, the blocks that are there are taken to be of them.
    """
    tiers = [state.tier(each.tier) for each in event.contents]
    if event.rank < 0 or len(set(tiers)) < len(tiers):
        raise IllegalTransition("Attached", why=f"rank {event.rank} is below 0, or a tier is named twice")
    for tier, each in zip(tiers, event.contents, strict=True):
        before = tier.contents.get(event.rank, each.name)
        if before != each.name and not tier.observed and tier.slots.count(SlotState.REGISTERED):
            raise IllegalTransition(
                f"Attached {each.name!r} of rank {event.rank} as {tier.name}",
                why=f"blocks of {before!r} are registered",
            )
    for tier, each in zip(tiers, event.contents, strict=True):
        tier.contents[event.rank] = each.name
