"""note: blocks that another instance has written take slots, so that they can be found and read."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import (
    CHECKSUM_DIGITS,
    MAX_BLOCKS,
    ROOT,
    Noted,
    TierName,
    check_keys,
    to_slots,
)
from kvbm_events.schema.errors import IllegalTransition, InvalidCommand, TierFull
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.decide.allocate import check_room, make_room
from kvbm_statemachine.decide.desk import Desk
from kvbm_statemachine.effects.notes import are_known, check_note
from kvbm_statemachine.tier import Tier


def note(
    desk: Desk,
    tier: TierName,
    keys: Sequence[str],
    *,
    writer: str,
    parent: str = ROOT,
    length_bytes: int = 0,
    checksums: str,
    request: str = "",
) -> int:
    """Take note of blocks that another instance has written, as its log tells; of how many: the first ones.

    Cached blocks make room for them, but never the prefix that they go on from: where that would have to go, only free
    slots are taken. What is in the tier, or on its way there, is to be left out by the caller.

    Args:
        desk: the owner's desk
        tier: where both have their objects
        keys: in prefix order, each the parent of the next
        writer: the instance that wrote them
        parent: the key before the first, `ROOT` for a prompt's start
        length_bytes: of each block
        checksums: 16 hex digits each
        request: for whom room is made

    Raises:
        InvalidCommand: malformed keys or checksums, keys that are there, on their way, or known under another parent.
        UnknownTier: as it says.
    """
    place = desk.state.tier(tier)
    check_keys([parent, *keys] if parent else keys)
    if not (writer and keys and are_known(checksums, len(keys))):
        raise InvalidCommand(f"a note of {len(keys)} blocks", why="it has a writer, and a checksum for each block")
    try:
        check_note(desk.state, place, parent, list(keys))
    except IllegalTransition as error:
        raise InvalidCommand(f"blocks of {writer!r} cannot be noted in {tier}", why=str(error)) from error
    count = _make_room(desk, place, len(keys), parent, request)
    for at in range(0, count, MAX_BLOCKS):
        part = list(keys[at : min(at + MAX_BLOCKS, count)])
        runs = place.slots.find_free(len(part))
        event = Noted(
            epoch=desk.state.epoch,
            n=desk.state.n + 1,
            at_us=desk.now_us,
            tier=tier,
            writer=writer,
            slots=runs,
            keys="".join(part),
            parent=keys[at - 1] if at else parent,
            length_bytes=length_bytes,
            checksums=checksums[at * CHECKSUM_DIGITS : (at + len(part)) * CHECKSUM_DIGITS],
        )
        desk.emit(event, Columns(part, to_slots(runs)))
    return count


def _make_room(desk: Desk, tier: Tier, count: int, parent: str, request: str) -> int:
    """How many slots are free now, up to `count`."""
    try:
        victims = {chain.id for chain, _ in check_room(tier, count)}
    except TierFull:
        return min(count, tier.slots.free)
    slot = tier.lineage.index.get(parent)
    prefix = {chain.id for chain, _ in tier.lineage.path(slot)} if slot is not None else set[int]()
    if not victims.isdisjoint(prefix):
        return min(count, tier.slots.free)
    make_room(desk, tier, count, request)
    return count
