"""Evicted: how a slot loses its block."""

from __future__ import annotations

from kvbm_events.schema import KEY_DIGITS, LOST, Evicted, Runs, to_runs, to_slots
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.lineage import NO_SLOT, Chain, common_length
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier

Part = tuple[Chain, int, int, Runs]
"""Neighbours in one chain: the chain, the position of the first, how many, and their slots."""


def evicted(state: State, event: Evicted, _columns: Columns | None = None) -> None:
    """Blocks leave the tier, children before their parents.

    An owned tier evicts loose ends of chains only; lost blocks go at once, with all that stands on them, and their
    slots are condemned where somebody still holds them. An observed tier's engine evicts in any order.
    """
    tier = state.tier(event.tier)
    tier.slots.check(Step.EVICTED, event.slots)
    parts = _parts(tier, event)
    if not tier.observed:
        _check_ends(tier, parts, held_may_go=event.reason in LOST)
    for chain, position, count, runs in parts:
        if tier.observed:
            chain = tier.lineage.chain_of(runs[0][0])  # noqa: PLW2901 - an earlier part may have split it
            tier.sever(chain, position - chain.base, count)
        loose = min(tier.lineage.loose(chain), count) if chain.pins else count
        if loose:
            runs = runs if loose == count else to_runs(chain.slots[-loose:])  # noqa: PLW2901 - those that can go now
            tier.cut(chain, runs, loose, for_room=event.reason == "capacity")
        if loose < count:
            tier.condemn(chain, count - loose)


def _parts(tier: Tier, event: Evicted) -> list[Part]:
    """The event's blocks by chain.

    Raises:
        IllegalTransition: a slot holds another key than the event says.
    """
    lineage, slots = tier.lineage, to_slots(event.slots)
    parts: list[Part] = []
    at, end = 0, len(slots)
    while at < end:
        chain, position = lineage.chain_of(slots[at]), lineage.position(slots[at])
        start = position - chain.base
        count = common_length(chain.slots[start : start + end - at], slots[at:])
        # The chain knows its keys: to compare them is cheaper than to unpack the event's and look each one up.
        if "".join(chain.keys[start : start + count]) != event.keys[at * KEY_DIGITS : (at + count) * KEY_DIGITS]:
            raise IllegalTransition(f"Evicted from {event.tier}", why="its keys are not those of its slots")
        runs = event.slots if count == end else to_runs(slots[at : at + count])
        parts.append((chain, position, count, runs))
        at += count
    if end and event.writer != tier.writer_of(slots):
        raise IllegalTransition(
            f"Evicted from {event.tier}", why=f"{event.writer or 'this instance'} has not written all of it"
        )
    if len(event.keys) != KEY_DIGITS * end:
        raise IllegalTransition(f"Evicted from {event.tier}", why="it has more keys than slots")
    return parts


def _check_ends(tier: Tier, parts: list[Part], *, held_may_go: bool) -> None:
    """Whether each part is the end of its chain once the parts before it are gone, with nothing pinned on it.

    Pins of child chains are lifted by parts that take the whole child. Where held blocks may go, those are the only
    pins that count.
    """
    gone: dict[int, int] = {}
    lifted: dict[int, int] = {}
    slot_at = tier.lineage.position
    for chain, position, count, runs in parts:
        taken = gone.get(chain.id, 0)
        is_held = chain.pins and any(
            slot_at(slot) >= position and _pins(tier, slot, pins, held_may_go=held_may_go) > lifted.get(slot, 0)
            for slot, pins in chain.pins.items()
        )
        if is_held or position + count != chain.end - taken:
            raise IllegalTransition(
                f"Evicted from slots {runs} of {tier.name}", why="a child, a request or a transfer holds a block"
            )
        gone[chain.id] = taken + count
        if taken + count == len(chain.slots) and chain.parent_slot != NO_SLOT:
            lifted[chain.parent_slot] = lifted.get(chain.parent_slot, 0) + 1


def _pins(tier: Tier, slot: int, pins: int, *, held_may_go: bool) -> int:
    if held_may_go:
        return sum(not child.condemned for child in tier.lineage.children(slot))
    return pins
