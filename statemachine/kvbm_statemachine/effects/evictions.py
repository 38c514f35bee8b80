"""Evicted: how a slot loses its block."""

from __future__ import annotations

from collections import Counter

from kvbm_events.schema import Evicted, to_runs, to_slots, unpack_keys
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.lineage import NO_SLOT, Chain
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier

Part = tuple[Chain, int, list[int]]
"""Neighbours in one chain: the chain, the position of the first block, the slots."""


def evicted(state: State, event: Evicted) -> None:
    """Blocks leave the tier, children before their parents.

    An owned tier evicts loose ends of chains only; corrupt blocks go at once, with all that stands on them, and their
    slots are condemned where somebody still holds them. An observed tier's engine evicts in any order.
    """
    tier = state.tier(event.tier)
    keys, slots = unpack_keys(event.keys), to_slots(event.slots)
    tier.slots.check(Step.EVICTED, event.slots)
    if list(map(tier.lineage.index.get, keys)) != slots:
        raise IllegalTransition(f"Evicted from {event.tier}", why="its keys are not those of its slots")
    parts = _parts(tier, slots)
    if not tier.observed:
        _check_ends(tier, parts, held_may_go=event.reason == "corrupt")
    for _, position, part in parts:
        chain = tier.lineage.chain_of(part[0])
        if tier.observed:
            tier.sever(chain, position - chain.base, len(part))
        if tier.lineage.loose(chain) >= len(part):
            tier.cut(chain, len(part), for_room=event.reason == "capacity")
        else:
            tier.condemn(chain, len(part))


def _parts(tier: Tier, slots: list[int]) -> list[Part]:
    parts: list[Part] = []
    at = 0
    while at < len(slots):
        chain, position = tier.lineage.chain_of(slots[at]), tier.lineage.position(slots[at])
        start = position - chain.base
        run = chain.slots[start : start + len(slots) - at]
        part = slots[at : at + len(run)]
        if run != part:
            part = part[: next(i for i, (a, b) in enumerate(zip(run, part, strict=True)) if a != b)]
        parts.append((chain, position, part))
        at += len(part)
    return parts


def _check_ends(tier: Tier, parts: list[Part], *, held_may_go: bool) -> None:
    """Whether each part is the end of its chain once the parts before it are gone, with nothing pinned on it.

    Pins of child chains are lifted by parts that take the whole child. Where held blocks may go, those are the only
    pins that count.
    """
    gone, lifted = Counter[int](), Counter[int]()
    for chain, position, part in parts:
        is_end = position + len(part) == chain.end - gone[chain.id]
        if not is_end or any(
            _pins(tier, slot, chain, held_may_go) > lifted[slot] for slot in part if slot in chain.pins
        ):
            raise IllegalTransition(
                f"Evicted from slots {to_runs(part)} of {tier.name}",
                why="a child, a request or a transfer holds a block",
            )
        gone[chain.id] += len(part)
        if gone[chain.id] == len(chain.slots) and chain.parent_slot != NO_SLOT:
            lifted[chain.parent_slot] += 1


def _pins(tier: Tier, slot: int, chain: Chain, held_may_go: bool) -> int:  # noqa: FBT001 - private, named by its caller
    if held_may_go:
        return sum(not child.condemned for child in tier.lineage.branches.get(slot, ()))
    return chain.pins[slot]
