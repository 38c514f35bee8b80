"""offload, onboard, and how a transfer ends: blocks on their way from tier to tier."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeVar

from kvbm_events.schema import (
    CHECKSUM_DIGITS,
    MAX_BLOCKS,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    OnboardCompleted,
    OnboardFailed,
    OnboardStarted,
    Runs,
    TierName,
    are_checksums,
    check_keys,
    to_runs,
)
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand
from kvbm_statemachine.decide.allocate import make_room
from kvbm_statemachine.decide.desk import Desk, check_priority
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer

Started = TypeVar("Started", OffloadStarted, OnboardStarted)


class Batch(NamedTuple):
    """Of many keys, the first in a row that can go as one transfer: those from `start` up to `end`, none if they are equal.
    All have one writer.

    Those before `start` are passed over: they are there or on their way, or, `gone` of them, not in the source.
    """

    start: int
    end: int
    gone: int


def next_batch(state: State, source: TierName, tier: TierName, keys: Sequence[str], batch_max: int) -> Batch:
    """The next transfer that these keys, in prefix order, give; at most `batch_max` blocks. Asks the state only.

    Raises:
        UnknownTier: as it says.
    """
    place, there, coming = state.tier(source), state.tier(tier).lineage.index, state.incoming[tier]
    lineage = place.lineage
    have, start, gone = lineage.index, 0, 0
    for key in keys:
        if key in have and key not in there and key not in coming:
            break
        gone += key not in have
        start += 1
    part = keys[start : start + batch_max]
    slots = [have[key] for key in part if key in have]
    is_all = len(slots) == len(part) and there.keys().isdisjoint(part) and coming.isdisjoint(part)
    if is_all and lineage.is_path(slots) and place.writer_of(slots) is not None:
        return Batch(start, start + len(part), gone)
    size, writers = 0, place.writers
    writer = writers.get(slots[0]) if slots else None
    for key in part:
        slot = have.get(key)
        if slot is None or key in there or key in coming or (size and lineage.parent_of(slot) != part[size - 1]):
            break
        if writers.get(slot) != writer:
            break
        size += 1
    return Batch(start, start + size, gone)


def offload(
    desk: Desk, source: TierName, tier: TierName, keys: Sequence[str], *, deadline_us: int, priority: int = 50
) -> OffloadStarted:
    """Start copying blocks down, as one transfer: a path in the source, nothing of it in or on its way to the destination.

    Raises:
        TierFull: the destination cannot take them.
        InvalidCommand, UnknownTier: as they say.
    """
    check_priority(priority)
    place, target, slots = _ends(desk, source, tier, keys, is_down=True)
    make_room(desk, target, len(keys), "")
    runs = target.slots.find_free(len(keys))
    return _start(desk, OffloadStarted, place, tier, keys, slots, runs, deadline_us, "", priority)


def onboard(
    desk: Desk,
    source: TierName,
    tier: TierName,
    keys: Sequence[str],
    *,
    request: str,
    deadline_us: int,
    at: Sequence[int] | None = None,
) -> OnboardStarted:
    """Start copying blocks up for a request that waits, as one transfer; of which blocks, see `offload`.

    Args:
        desk: the owner's desk
        source: where they are
        tier: where they are wanted
        keys: which
        request: who waits, and will hold them
        deadline_us: when the transfer counts as failed
        at: the very slots to write to, one a key, where an engine has chosen (an observed tier)

    Raises:
        TierFull: the destination cannot take them.
        InvalidCommand, UnknownTier, UnknownRequest: as they say.
    """
    holder = desk.state.request(request)
    place, target, slots = _ends(desk, source, tier, keys, is_down=False)
    check_destination(target, keys, at)
    if at is None:
        make_room(desk, target, len(keys), request)
    runs = target.slots.find_free(len(keys)) if at is None else to_runs(at)
    return _start(desk, OnboardStarted, place, tier, keys, slots, runs, deadline_us, request, holder.priority)


def check_destination(tier: Tier, keys: Sequence[str], at: Sequence[int] | None) -> None:
    """Whether blocks may be brought to these slots of a tier, or to any where None is said.

    Raises:
        InvalidCommand: slots are named where we choose, or not named where an engine does, or are not free.
    """
    if (at is not None) != tier.observed or (at is not None and len(at) != len(keys)):
        raise InvalidCommand(
            f"{len(keys)} blocks for {'any' if at is None else len(at)} slots of {tier.name}",
            why="an observed tier's engine names a slot for each block, and nobody does in a tier that we own",
        )
    try:
        tier.slots.check(Step.RESERVED, to_runs(at or ()))
    except IllegalTransition as error:
        raise InvalidCommand(f"blocks cannot come to these slots of {tier.name}", why=str(error)) from error


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
    desk: Desk,
    transfer_id: str,
    *,
    reason: str,
    slots: Sequence[int] | None = None,
    stopped: bool = True,
    actor: str = "",
) -> OffloadFailed | OnboardFailed:
    """Say that blocks did not arrive: those in these destination slots, or all that are still under way.

    With `stopped` false the slots are quarantined: call again with `stopped` when the mover is known to write no more.
    `actor` is whose word that is, where it is not the mover's.

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
        actor=actor,
    )
    desk.emit(event)
    return event


def check_path(state: State, source: TierName, tier: TierName, *, is_down: bool) -> tuple[Tier, Tier]:
    """Both ends of a path that an offload, or an onboard, may take.

    Raises:
        InvalidCommand: it goes the other way, or nowhere.
        UnknownTier: as it says.
    """
    ends = state.tier(source), state.tier(tier)
    if source == tier or (source < tier) != is_down:
        raise InvalidCommand(
            f"{'offload' if is_down else 'onboard'} from {source} to {tier}",
            why=f"that is no {'slower' if is_down else 'faster'} tier",
        )
    return ends


def _ends(
    desk: Desk, source: TierName, tier: TierName, keys: Sequence[str], *, is_down: bool
) -> tuple[Tier, Tier, list[int]]:
    """Both tiers, and the slots of the blocks in the source, which can go."""
    place, target = check_path(desk.state, source, tier, is_down=is_down)
    check_keys(keys)
    if not 0 < len(keys) <= MAX_BLOCKS:
        raise InvalidCommand(f"a transfer of {len(keys)} blocks", why=f"it has 1 to {MAX_BLOCKS}")
    have, there, coming = place.lineage.index, target.lineage.index, desk.state.incoming[tier]
    slots = [have[key] for key in keys if key in have]
    if len(slots) < len(keys) or not place.lineage.is_path(slots) or place.writer_of(slots) is None:
        raise InvalidCommand(
            f"{len(keys)} blocks from {source}", why="they are no path there, of one writer", hint="see next_batch"
        )
    if not there.keys().isdisjoint(keys) or not coming.isdisjoint(keys):
        raise InvalidCommand(
            f"{len(keys)} blocks to {tier}", why="one is there, or on its way, already", hint="see next_batch"
        )
    return place, target, slots


def _start(
    desk: Desk,
    kind: type[Started],
    source: Tier,
    tier: TierName,
    keys: Sequence[str],
    source_slots: list[int],
    slots: Runs,
    deadline_us: int,
    request: str,
    priority: int,
) -> Started:
    state = desk.state
    event = kind(
        epoch=state.epoch,
        n=state.n + 1,
        at_us=desk.now_us,
        transfer=f"{state.epoch}.{state.n + 1}",
        source=source.name,
        tier=tier,
        source_slots=to_runs(source_slots),
        slots=slots,
        keys="".join(keys),
        parent=source.lineage.parent_of(source_slots[0]),
        checksums=source.checksums.of(source_slots),
        deadline_us=deadline_us,
        request=request,
        priority=priority,
        writer=source.writer_of(source_slots) or "",
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
