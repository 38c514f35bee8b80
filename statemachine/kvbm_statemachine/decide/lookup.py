"""match: how much of a prompt's prefix is there, tier by tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from kvbm_events.schema import MAX_MISSED, Found, Matched, TierName, check_keys
from kvbm_events.schema.errors import InvalidCommand
from kvbm_statemachine.decide.desk import Desk, check_priority

MAX_LOOKUP = 131_072
"""Keys in one look-up."""


class Hit(Struct, frozen=True, gc=False):
    """Blocks found in a row in one tier: their slots, in prefix order."""

    tier: TierName
    slots: list[int]


def match(
    desk: Desk,
    request: str,
    keys: Sequence[str],
    *,
    hold: bool = True,
    priority: int = 50,
    hidden: Mapping[TierName, AbstractSet[str]] | None = None,
) -> list[Hit]:
    """Find the longest prefix of `keys`: as far as it goes in the fastest tier, from there on in the next, and so on.

    Args:
        desk: the owner's desk
        request: who asks
        keys: the prompt's block keys, in prefix order
        hold: let the request hold what is found, until it is released
        priority: 0 to 100, of the request
        hidden: by tier, keys that must not be found yet: their completion is not acknowledged

    Raises:
        InvalidCommand: a malformed key or name, or a limit passed.
        TooManyRequests: as it says.
    """
    desk.check_request(request)
    check_priority(priority)
    if len(keys) > MAX_LOOKUP:
        raise InvalidCommand(f"a look-up of {len(keys)} keys", why=f"{MAX_LOOKUP} is the most")
    hits: list[Hit] = []
    found: list[Found] = []
    at = 0
    for name, tier in desk.state.tiers.items():
        if at == len(keys):
            break
        slots = _prefix(tier.lineage.index, keys, at)
        if slots and hidden and hidden.get(name):
            slots = _before_hidden(slots, keys, at, hidden[name])
        if slots:
            at += len(slots)
            hits.append(Hit(name, slots))
            found.append(Found(tier=name, blocks=len(slots), last=keys[at - 1]))
    missed = keys[at : at + MAX_MISSED]
    state = desk.state
    event = Matched(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        request=request,
        asked=len(keys),
        found=found,
        missed=check_keys(missed) if missed else "",
        unnamed=len(keys) - at - len(missed),
        held=hold,
        priority=priority,
    )
    desk.emit(event)
    return hits


def _prefix(index: dict[str, int], keys: Sequence[str], start: int) -> list[int]:
    """Slots of the keys from `start` on, up to the first that is not there."""
    slots: list[int] = []
    if keys[start] in index:
        try:
            slots.extend(map(index.__getitem__, keys[start:] if start else keys))
        except KeyError:
            return slots  # `extend` has kept what came before it
    return slots


def _before_hidden(slots: list[int], keys: Sequence[str], start: int, hidden: AbstractSet[str]) -> list[int]:
    first = next((i for i in range(len(slots)) if keys[start + i] in hidden), len(slots))
    return slots[:first]
