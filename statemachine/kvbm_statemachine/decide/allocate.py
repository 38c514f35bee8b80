"""allocate, release: slots to fill, and everything given back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kvbm_events.schema import (
    MAX_BLOCKS,
    Allocated,
    Evicted,
    Released,
    ReleaseReason,
    Runs,
    TierName,
    to_runs,
    to_slots,
)
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand, TierFull
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.decide.desk import Desk, check_priority
from kvbm_statemachine.decide.evict import by_writer
from kvbm_statemachine.policies import Victims
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier

EVICT_AHEAD = 16
"""Blocks that one eviction takes at least, where they are loose."""
EVICT_AHEAD_SHARE = 512
"""But no more than this part of the tier."""


def allocate(
    desk: Desk, tier: TierName, request: str, count: int, *, priority: int = 50, at: Sequence[int] | None = None
) -> list[int]:
    """Give `count` slots of a tier to a request; evict cached blocks where too few are free. All or none.

    Args:
        desk: the owner's desk
        tier: where
        request: who will fill the slots
        count: how many
        priority: 0 to 100, of the request
        at: the very slots, where an engine has chosen (an observed tier)

    Raises:
        TierFull: so many are neither free nor evictable.
        InvalidCommand, UnknownTier, TooManyRequests: as they say.
    """
    desk.check_request(request)
    check_priority(priority)
    place = desk.state.tier(tier)
    if count < 1 or (at is not None and len(at) != count):
        raise InvalidCommand(f"allocation of {count} slots", why="at least one, and as many as are named")
    if at is None:
        make_room(desk, place, count, request)
        runs = place.slots.find_free(count)
    else:
        runs = to_runs(at)
        try:
            place.slots.check(Step.ALLOCATED, runs)
        except IllegalTransition as error:
            raise InvalidCommand(f"these slots of {tier} cannot be allocated", why=str(error)) from error
    state = desk.state
    event = Allocated(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        tier=tier,
        request=request,
        slots=runs,
        priority=priority,
    )
    desk.emit(event)
    return to_slots(runs)


def check_room(tier: Tier, count: int) -> list[Victims]:
    """Who would have to go so that `count` slots are free; nobody where they are.

    Where that is few, a few more go with them: requests grow by the block.

    Raises:
        TierFull: that many cannot be had.
    """
    short = count - tier.slots.free
    if short <= 0:
        return []
    ahead = min(EVICT_AHEAD, tier.spec.capacity // EVICT_AHEAD_SHARE)
    victims = [] if tier.observed else tier.policy.victims(max(short, ahead))
    found = sum([size for _, size in victims])
    if found < short:
        raise TierFull(
            f"{tier.name} has no room for {count} blocks",
            why=f"{tier.slots.free} of {tier.spec.capacity} slots are free, {found} more can be evicted, "
            "the others are held",
            hint="release requests, wait for transfers, or give the tier more slots",
        )
    return victims


def make_room(desk: Desk, tier: Tier, count: int, request: str) -> None:
    """Evict until `count` slots are free. Raises as `check_room`; then nothing was evicted."""
    victims = check_room(tier, count)
    if victims:
        for columns, writer in by_writer(tier, _columns(victims)):
            _evict(desk, tier, columns, request, writer)


def _columns(victims: list[Victims]) -> list[Columns]:
    """What a policy chose, event by event."""
    if len(victims) == 1 and victims[0][1] <= MAX_BLOCKS:
        chain, count = victims[0]
        return [Columns(chain.keys[-count:], chain.slots[-count:])]
    events = [Columns([], [])]
    gone: dict[int, int] = {}
    for chain, left in victims:
        while left:
            keys, slots = events[-1].keys, events[-1].slots
            count = min(left, MAX_BLOCKS - len(slots))
            taken = gone.get(chain.id, 0)
            end = len(chain.slots) - taken
            keys += chain.keys[end - count : end]
            slots += chain.slots[end - count : end]
            gone[chain.id] = taken + count
            left -= count  # noqa: PLW2901 - what is left of these victims
            if len(slots) == MAX_BLOCKS:
                events.append(Columns([], []))
    return [columns for columns in events if columns.slots]


def _evict(desk: Desk, tier: Tier, columns: Columns, request: str, writer: str) -> None:
    state = desk.state
    event = Evicted(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        tier=tier.spec.tier,
        slots=to_runs(columns.slots),
        keys="".join(columns.keys),
        reason="capacity",
        actor=tier.policy.name,
        request=request,
        writer=writer,
    )
    desk.emit(event)


def release(
    desk: Desk,
    request: str,
    *,
    reason: ReleaseReason = "finished",
    tier: TierName | Literal[""] = "",
    slots: Sequence[int] = (),
) -> None:
    """Give back all that a request holds; or all that it holds in `tier`; or only these allocated `slots` of it.

    Raises:
        UnknownRequest, UnknownTier: as they say.
        InvalidCommand: the slots are not allocated to the request.
    """
    state = desk.state
    holder = state.request(request)
    runs: Runs = to_runs(slots)
    if tier:
        place = state.tier(tier)
        try:
            place.slots.check(Step.GIVEN_BACK, runs)
            holder.without(tier, runs)
        except IllegalTransition as error:
            raise InvalidCommand(f"{request!r} cannot give back slots of {tier}", why=str(error)) from error
    elif runs:
        raise InvalidCommand("release of slots", why="no tier is named", hint="name the tier of the slots")
    event = Released(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        request=request,
        reason=reason,
        tier=tier,
        slots=runs,
    )
    desk.emit(event)
