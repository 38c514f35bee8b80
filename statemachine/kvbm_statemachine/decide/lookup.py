"""match: how much of a prompt's prefix is there, tier by tier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from msgspec import Struct

from kvbm_events.schema import MAX_MISSED, ROOT, Found, Matched, TierName, check_keys
from kvbm_events.schema.errors import InvalidCommand
from kvbm_statemachine.decide.desk import Desk, check_priority
from kvbm_statemachine.state import State

MAX_LOOKUP = 131_072
"""Keys in one look-up."""
Hidden = Mapping[TierName, AbstractSet[str]]


class Start(NamedTuple):
    """Where a look-up begins: so many blocks of the prompt are before it, the last of them with the key `parent`."""

    block: int
    parent: str


PROMPT = Start(0, ROOT)


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
    hidden: Hidden | None = None,
    local: int | None = None,
    start: Start = PROMPT,
    more: Callable[[int], bool] | None = None,
) -> list[Hit]:
    """Find the longest prefix of `keys`: as far as it goes in the fastest tier, from there on in the next, and so on.

    Args:
        desk: the owner's desk
        request: who asks
        keys: the prompt's block keys, in prefix order
        hold: let the request hold what is found, until it is released
        priority: 0 to 100, of the request
        hidden: by tier, keys that must not be found yet: their completion is not acknowledged
        local: how many of the first keys an engine has found in its own, observed tier; the tiers below go on from there
        start: where in the prompt the first key is
        more: told how many keys were found, where that is not all; whether it has brought some of the rest, by events

    Raises:
        InvalidCommand: a malformed key or name, or a limit passed.
        TooManyRequests: as it says.
    """
    desk.check_request(request)
    check_priority(priority)
    if len(keys) > MAX_LOOKUP:
        raise InvalidCommand(f"a look-up of {len(keys)} keys", why=f"{MAX_LOOKUP} is the most")
    if start != PROMPT:
        _check_start(start)
    hits, at = look(desk.state, keys, hidden=hidden, local=local)
    if more and at < len(keys) and more(at):
        hits, at = look(desk.state, keys, hidden=hidden, local=local)
    missed = keys[at : at + MAX_MISSED]
    state = desk.state
    event = Matched(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        request=request,
        start=start.block,
        parent=start.parent,
        asked=len(keys),
        found=[Found(tier=hit.tier, blocks=len(hit.slots), last=_last(state, hit)) for hit in hits],
        missed=check_keys(missed) if missed else "",
        unnamed=len(keys) - at - len(missed),
        held=hold,
        priority=priority,
    )
    desk.emit(event)
    return hits


def look(
    state: State, keys: Sequence[str], *, hidden: Hidden | None = None, local: int | None = None
) -> tuple[list[Hit], int]:
    """What `match` would find, and how many keys that are, those of the engine among them. Nothing is changed."""
    hits: list[Hit] = []
    at = 0
    for name, tier in state.tiers.items():
        is_engines = tier.observed and local is not None
        if at == len(keys):
            break
        slots = _prefix(tier.lineage.index, keys, at)
        if slots and hidden and hidden.get(name):
            slots = _before_hidden(slots, keys, at, hidden[name])
        if is_engines:
            slots = slots[:local]
        if slots:
            hits.append(Hit(name, slots))
        at = min(local or 0, len(keys)) if is_engines else at + len(slots)
    return hits, at


def _check_start(start: Start) -> None:
    if start.block < 1 or not start.parent:
        raise InvalidCommand(f"a look-up from block {start.block} on", why="a key is before all but the first block")
    check_keys([start.parent])


def _last(state: State, hit: Hit) -> str:
    return state.tiers[hit.tier].lineage.key_of(hit.slots[-1])


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
