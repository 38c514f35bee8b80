"""offload, onboard, and how a transfer ends: blocks on their way from tier to tier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from kvbm_events.schema import (
    CHECKSUM_DIGITS,
    MAX_BLOCKS,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    OnboardCompleted,
    OnboardFailed,
    OnboardStarted,
    TierName,
    are_checksums,
    check_keys,
    to_runs,
)
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand, TierFull
from kvbm_statemachine.decide.allocate import make_room
from kvbm_statemachine.decide.desk import Desk, check_priority
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer

Started = TypeVar("Started", OffloadStarted, OnboardStarted)


def offload(
    desk: Desk,
    source: TierName,
    tier: TierName,
    keys: Sequence[str],
    *,
    deadline_us: int,
    priority: int = 50,
    batch_max: int = MAX_BLOCKS,
) -> list[OffloadStarted]:
    """Start copying blocks down. What is not in the source, or in or on its way to the destination, is passed over.

    Work in the background: where the destination has no room, as many blocks go as fit.

    Raises:
        InvalidCommand, UnknownTier: as they say.
    """
    place, target = _ends(desk, source, tier, priority, batch_max)
    check_keys(keys)
    started: list[OffloadStarted] = []
    for part in _batches(place, _missing_there(desk, place, target, keys), batch_max):
        try:
            event = _start(desk, OffloadStarted, place, target, part, deadline_us, "", priority)
        except TierFull:
            break
        started.append(event)
    return started


def onboard(
    desk: Desk,
    source: TierName,
    tier: TierName,
    keys: Sequence[str],
    *,
    request: str,
    deadline_us: int,
    batch_max: int = MAX_BLOCKS,
    at: Sequence[int] | None = None,
) -> list[OnboardStarted]:
    """Start copying blocks up for a request that waits. What is there, or on its way, is passed over.

    Args:
        desk: the owner's desk
        source: where the blocks are
        tier: where they are to be
        keys: of the blocks
        request: who waits
        deadline_us: when a transfer counts as failed
        batch_max: blocks of one transfer
        at: the very slots, one a key, where an engine has chosen (an observed tier)

    Raises:
        TierFull: the destination cannot take them all; nothing was started.
        InvalidCommand, UnknownTier, UnknownRequest: as they say.
    """
    place, target = _ends(desk, source, tier, 50, batch_max)
    holder = desk.state.request(request)
    check_keys(keys)
    wanted = _missing_there(desk, place, target, keys)
    if not wanted:
        return []
    chosen = _chosen(target, keys, wanted, at)
    if chosen is None:
        make_room(desk, target, len(wanted), request)
    return [
        _start(desk, OnboardStarted, place, target, part, deadline_us, request, holder.priority, chosen)
        for part in _batches(place, wanted, batch_max)
    ]


def complete_transfer(
    desk: Desk, transfer_id: str, *, slots: Sequence[int] | None = None, length_bytes: int = 0, checksums: str = ""
) -> OffloadCompleted | OnboardCompleted:
    """Say that blocks arrived: those in these destination slots, or all that are still under way.

    Raises:
        UnknownTransfer: it is over, or never was.
        InvalidCommand: a slot is not under way in it, or the checksums are not one for each slot.
    """
    state = desk.state
    transfer = state.transfer(transfer_id)
    arrived = _under_way(transfer, slots, set())
    if length_bytes < 0 or not are_checksums(checksums, len(arrived)):
        raise InvalidCommand(
            f"{length_bytes} bytes and {len(checksums)} digits of checksums for {len(arrived)} blocks",
            why=f"a length is not negative, and a checksum has {CHECKSUM_DIGITS} hex digits",
        )
    index = state.tiers[transfer.tier].lineage.index
    keys = [transfer.keys[transfer.open[slot]] for slot in arrived]
    kind = OffloadCompleted if transfer.kind == "offload" else OnboardCompleted
    event = kind(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        transfer=transfer.id,
        tier=transfer.tier,
        slots=to_runs(arrived),
        length_bytes=length_bytes,
        checksums=checksums,
        existing=[(at, index[key]) for at, key in enumerate(keys) if key in index],
    )
    desk.emit(event)
    return event


def fail_transfer(
    desk: Desk, transfer_id: str, *, reason: str, slots: Sequence[int] | None = None, stopped: bool = True
) -> OffloadFailed | OnboardFailed:
    """Say that blocks did not arrive: those in these destination slots, or all that are still under way.

    With `stopped` false the slots are quarantined: call again with `stopped` when the mover is known to write no more.

    Raises:
        UnknownTransfer: it is over, or never was.
        InvalidCommand: a slot is neither under way nor quarantined in it.
    """
    state = desk.state
    transfer = state.transfer(transfer_id)
    doubtful = transfer.quarantined if stopped else set[int]()
    lost = _under_way(transfer, slots, doubtful)
    kind = OffloadFailed if transfer.kind == "offload" else OnboardFailed
    event = kind(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        transfer=transfer.id,
        tier=transfer.tier,
        slots=to_runs(lost),
        reason=reason,
        stopped=stopped,
    )
    desk.emit(event)
    return event


def _ends(desk: Desk, source: TierName, tier: TierName, priority: int, batch_max: int) -> tuple[Tier, Tier]:
    check_priority(priority)
    if source == tier or not 0 < batch_max <= MAX_BLOCKS:
        raise InvalidCommand(
            f"transfer from {source} to {tier} in batches of {batch_max}",
            why=f"a transfer goes to another tier, 1 to {MAX_BLOCKS} blocks at a time",
        )
    return desk.state.tier(source), desk.state.tier(tier)


def _missing_there(desk: Desk, source: Tier, target: Tier, keys: Sequence[str]) -> list[str]:
    have, there, coming = source.lineage.index, target.lineage.index, desk.state.incoming[target.name]
    return [key for key in dict.fromkeys(keys) if key in have and key not in there and key not in coming]


def _batches(source: Tier, keys: list[str], batch_max: int) -> Iterator[list[str]]:
    """Cut keys into runs each of which is a path in the source, none longer than a batch."""
    lineage = source.lineage
    start = 0
    for end in range(1, len(keys) + 1):
        is_last = end == len(keys)
        if is_last or end - start == batch_max or lineage.parent_of(lineage.index[keys[end]]) != keys[end - 1]:
            yield keys[start:end]
            start = end


def _chosen(tier: Tier, keys: Sequence[str], wanted: list[str], at: Sequence[int] | None) -> dict[str, int] | None:
    """By key, the slot that an engine has chosen; all must be free."""
    if at is None:
        return None
    if len(at) != len(keys):
        raise InvalidCommand(f"{len(at)} slots for {len(keys)} keys", why="an engine chooses one a key")
    chosen = dict(zip(keys, at, strict=True))
    try:
        tier.slots.check(Step.RESERVED, to_runs([chosen[key] for key in wanted]))
    except IllegalTransition as error:
        raise InvalidCommand(f"these slots of {tier.name} cannot be loaded into", why=str(error)) from error
    return chosen


def _start(
    desk: Desk,
    kind: type[Started],
    source: Tier,
    tier: Tier,
    keys: list[str],
    deadline_us: int,
    request: str,
    priority: int,
    chosen: Mapping[str, int] | None = None,
) -> Started:
    if chosen is None:
        make_room(desk, tier, len(keys), request)
    state = desk.state
    slots = [source.lineage.index[key] for key in keys]
    event = kind(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        transfer=f"{state.epoch}.{state.n + 1}",
        source=source.name,
        tier=tier.name,
        source_slots=to_runs(slots),
        slots=tier.slots.find_free(len(keys)) if chosen is None else to_runs([chosen[key] for key in keys]),
        keys="".join(keys),
        parent=source.lineage.parent_of(slots[0]),
        checksums=source.checksums.of(slots),
        deadline_us=deadline_us,
        request=request,
        priority=priority,
    )
    desk.emit(event)
    return event


def _under_way(transfer: Transfer, slots: Sequence[int] | None, doubtful: AbstractSet[int]) -> list[int]:
    """The slots of which a report speaks: open ones, or among those that are in doubt."""
    spoken_of = [*transfer.open, *sorted(doubtful)] if slots is None else list(slots)
    named = set(spoken_of)
    if not named or len(named) < len(spoken_of) or not transfer.open.keys() | doubtful >= named:
        raise InvalidCommand(
            f"slots {spoken_of[:8]} of transfer {transfer.id}", why="none is named, or one twice, or one not under way"
        )
    return spoken_of
