"""register: filled slots get their keys."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import MAX_BLOCKS, ROOT, Registered, Runs, TierName, check_keys, to_runs
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.decide.desk import Desk
from kvbm_statemachine.effects.blocks import check_keys_fit
from kvbm_statemachine.requests import Request
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier


def register(
    desk: Desk, tier: TierName, request: str, slots: Sequence[int], keys: Sequence[str], parent: str = ROOT
) -> list[int]:
    """Make filled slots matchable under their keys; the slots that hold them from now on, one a key.

    Where a key is in the tier already, that is the slot it had before, and the request's own is free again.

    Args:
        desk: the owner's desk
        tier: where the slots are
        request: who filled them
        slots: allocated to the request, one a key
        keys: in prefix order, each the parent of the next
        parent: the key before the first, `ROOT` for a prompt's start

    Raises:
        InvalidCommand: malformed or repeated keys, slots that are not the request's, a key known under another parent.
        UnknownTier, UnknownRequest: as they say.
    """
    place = desk.state.tier(tier)
    holder = desk.state.request(request)
    packed = check_keys(keys)
    runs = to_runs(slots)
    if parent != ROOT and parent not in place.lineage.index:
        check_keys([parent])
    if not keys or len(keys) != len(slots):
        raise InvalidCommand(f"{len(keys)} keys for {len(slots)} slots", why="one key a slot, and at least one")
    if len(keys) <= MAX_BLOCKS:
        return _register(desk, place, request, list(slots), list(keys), packed, runs, parent)
    _check_whole(place, holder, list(slots), runs, list(keys), parent)
    final: list[int] = []
    for at in range(0, len(keys), MAX_BLOCKS):
        part, own = list(keys[at : at + MAX_BLOCKS]), list(slots[at : at + MAX_BLOCKS])
        above = keys[at - 1] if at else parent
        final += _register(desk, place, request, own, part, "".join(part), to_runs(own), above)
    return final


def _check_whole(tier: Tier, holder: Request, slots: list[int], runs: Runs, keys: list[str], parent: str) -> None:
    """Refuse beforehand what would be refused in the second event or a later one."""
    try:
        tier.slots.check(Step.REGISTERED, runs)
        holder.without(tier.name, runs)
        check_keys_fit(tier, [parent, *keys], keys, slots, _existing(tier, keys))
    except IllegalTransition as error:
        raise _refusal(holder.name, error) from error


def _existing(tier: Tier, keys: list[str]) -> list[tuple[int, int]]:
    """Which of the keys are in the tier already, and where."""
    index = tier.lineage.index
    return [] if index.keys().isdisjoint(keys) else [(at, index[key]) for at, key in enumerate(keys) if key in index]


def _refusal(request: str, error: IllegalTransition) -> InvalidCommand:
    return InvalidCommand(
        f"{request!r} cannot register these blocks",
        why=str(error),
        hint="register allocated slots of the request under chained hashes, where equal keys mean equal prefixes",
    )


def _register(
    desk: Desk, tier: Tier, request: str, slots: list[int], keys: list[str], packed: str, runs: Runs, parent: str
) -> list[int]:
    state, existing = desk.state, _existing(tier, keys)
    event = Registered(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        tier=tier.name,
        request=request,
        slots=runs,
        keys=packed,
        parent=parent,
        existing=existing,
    )
    final = slots.copy()
    try:
        desk.emit(event, Columns(keys, slots))
    except IllegalTransition as error:
        raise _refusal(request, error) from error
    for at, slot in existing:
        final[at] = slot
    return final
