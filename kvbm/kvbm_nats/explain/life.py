"""block_life: where a block is, every stay that it had, and every event that brought or took it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kvbm_events.schema import (
    KEY_DIGITS,
    UNKNOWN_CHECKSUM,
    Evicted,
    Noted,
    Opened,
    Registered,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
    to_slots,
    unpack_checksums,
    unpack_keys,
)
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.explain.answers import BlockLife, Event, Place, Stay
from kvbm_nats.explain.attachment import attached_after
from kvbm_nats.explain.look_up import Told
from kvbm_nats.explain.words import from_where, sentence, why_evicted, why_freed
from kvbm_nats.projection import KeyRow, Projection

NAMED_MAX = 10
"""Keys that are named where a prefix is not unique."""


async def whole_key(projection: Projection, prefix: str) -> str | None:
    """The one key that begins so; None where none does.

    Raises:
        InvalidCommand: several do, or that begins no key.
    """
    if len(prefix) == KEY_DIGITS:
        return prefix
    found = await projection.keys(prefix, NAMED_MAX)
    if len(found) > 1:
        more = " and others" if len(found) == NAMED_MAX else ""
        raise InvalidCommand(f"{prefix} begins several keys", why=f"{', '.join(found)}{more}", hint="give more digits")
    return found[0] if found else None


async def block_life(projection: Projection, key: str, *, until: int, instance: str | None = None) -> BlockLife | None:
    """The block's life up to and with a sequence; None where nothing up to there names it.

    Raises:
        InvalidCommand: that is not a key.
    """
    rows = [row for row in await projection.key_rows([key]) if row.seq <= until and instance in {None, row.instance}]
    if not rows:
        return None
    told = {seq: Told.of(row) for seq, row in (await projection.events([*seqs_of_key(rows), until])).items()}
    arrivals = [row for row in rows if row.is_arrival]
    stays = [_stay(row, told, until) for row in arrivals]
    events = events_of_key(rows, told, until) + await _attached(projection, arrivals, told, until)
    return BlockLife(
        key=key,
        as_of_seq=until,
        as_of_us=told[until].row.at_us if until in told else 0,
        parent=_parent(key, rows, told),
        places=[_place(stay) for stay in stays if stay.to_seq is None],
        stays=stays,
        events=sorted(events, key=lambda event: (event.seq, event.last_seq)),
    )


async def _attached(
    projection: Projection, arrivals: Sequence[KeyRow], told: Mapping[int, Told], until: int
) -> list[Event]:
    """Whose memory was another than the one that the key had been in, where its stay ended with that."""
    found: list[Event] = []
    for row in arrivals:
        ended = told.get(row.gone_seq or 0)
        if not ended or not isinstance(ended.event, Evicted) or ended.event.reason != "reset":
            continue
        after = await attached_after(projection, row.instance, ended.row.seq)
        if after and after.row.seq <= until:
            found.append(
                Event(
                    seq=after.row.seq,
                    last_seq=after.row.seq,
                    at_us=after.row.at_us,
                    took_us=0,
                    instance=row.instance,
                    type=after.row.type,
                    tier=None,
                    blocks=0,
                    request="",
                    said=sentence(after.event),
                )
            )
    return found


def seqs_of_key(rows: Sequence[KeyRow]) -> set[int]:
    """The entries that `events_of_key` needs."""
    return {row.seq for row in rows} | {row.gone_seq for row in rows if row.gone_seq}


def events_of_key(rows: Sequence[KeyRow], told: Mapping[int, Told], until: int) -> list[Event]:
    """What happened to the key, in order: the ends of a transfer as one event, and what took the key away."""
    events: list[Event] = []
    under_way: dict[tuple[str, str, int], KeyRow] = {}
    doubtful: set[tuple[str, str, int]] = set()
    for row in rows:
        place = row.instance, row.tier, row.slot
        if row.seq > until:
            continue
        if row.type and row.type.endswith("Started"):
            under_way[place] = row
            continue
        failed = told[row.seq].event if row.seq in told else None
        was_in_doubt = isinstance(failed, TransferFailed) and place in doubtful and place not in under_way
        if isinstance(failed, TransferFailed):
            (doubtful.discard if failed.stopped else doubtful.add)(place)
        events.append(_event(row, under_way.pop(place, None), told, was_in_doubt=was_in_doubt))
        if row.is_arrival and row.gone_seq and row.gone_seq <= until:
            events.append(_departure(row, told))
    events += [_event(row, row, told) for row in under_way.values()]
    return sorted(events, key=lambda event: (event.seq, event.last_seq))


def _event(row: KeyRow, started: KeyRow | None, told: Mapping[int, Told], *, was_in_doubt: bool = False) -> Event:
    first, last = told.get(started.seq if started else row.seq), told.get(row.seq)
    at_us = first.row.at_us if first else 0
    return Event(
        seq=started.seq if started else row.seq,
        last_seq=row.seq,
        at_us=at_us,
        took_us=last.row.at_us - at_us if last else 0,
        instance=row.instance,
        type=row.type or "Snapshot",
        tier=row.tier,
        blocks=1,
        request=(last.row.request or "") if last else "",
        said=_say(row, first.event if first else None, last.event if last else None, was_in_doubt=was_in_doubt),
    )


def _say(row: KeyRow, first: object, last: object, *, was_in_doubt: bool) -> str:
    way = f"{from_where(first)} → {row.tier} slot {row.slot}" if isinstance(first, TransferStarted) else ""
    waiting = f" for {first.request}" if isinstance(first, TransferStarted) and first.request else ""
    match last:
        case Registered() | Noted():
            return _came(row, last)
        case TransferCompleted():
            return f"{way}{waiting} arrived{_bytes_of(row.slot, last)}"
        case TransferFailed() if was_in_doubt:
            return f"{row.tier} slot {row.slot} left quarantine: {why_freed(last)}"
        case TransferFailed():
            doubt = "" if last.stopped else "; the slot is in quarantine: its mover may not have stopped"
            return f"{way}{waiting} did not arrive: {last.reason}{doubt}"
        case TransferStarted():
            return f"{way}{waiting} is under way"
        case _:
            return f"was in {row.tier} slot {row.slot} when the projection's log began"


def _came(row: KeyRow, event: Registered | Noted) -> str:
    if isinstance(event, Registered):
        return f"registered in {row.tier} slot {row.slot} by {event.request}"
    return f"noted in {row.tier} slot {row.slot}: written by {event.writer}{_bytes_of(row.slot, event)}"


def _bytes_of(slot: int, event: TransferCompleted | Noted) -> str:
    slots = to_slots(event.slots)
    checksum = unpack_checksums(event.checksums, len(slots))[slots.index(slot)]
    size = f", {event.length_bytes:,} bytes" if event.length_bytes else ""
    return f"{size}, xxh3 {checksum}" if checksum and checksum != UNKNOWN_CHECKSUM else size


def _departure(row: KeyRow, told: Mapping[int, Told]) -> Event:
    found = told.get(row.gone_seq or 0)
    return Event(
        seq=row.gone_seq or 0,
        last_seq=row.gone_seq or 0,
        at_us=found.row.at_us if found else 0,
        took_us=0,
        instance=row.instance,
        type=found.row.type if found else "",
        tier=row.tier,
        blocks=1,
        request=(found.row.request or "") if found else "",
        said=_ended(row, found.event if found else None),
    )


def _ended(row: KeyRow, event: object) -> str:
    match event:
        case Evicted():
            return f"evicted from {row.tier} slot {row.slot}: {why_evicted(event)}"
        case Opened():
            return f"lost with {row.tier}: epoch {event.epoch} by {event.owner} began without its blocks"
        case _:
            return f"left {row.tier} slot {row.slot}"


def _stay(row: KeyRow, told: Mapping[int, Told], until: int) -> Stay:
    to_seq = row.gone_seq if row.gone_seq and row.gone_seq <= until else None
    begun, ended = told.get(row.seq), told.get(to_seq or 0)
    return Stay(
        instance=row.instance,
        tier=row.tier,
        slot=row.slot,
        from_seq=row.seq,
        from_us=begun.row.at_us if begun else 0,
        to_seq=to_seq,
        to_us=ended.row.at_us if ended else None,
        ended=_ended(row, ended.event) if ended else "",
        writer=begun.event.writer if begun and isinstance(begun.event, Noted) else "",
    )


def _place(stay: Stay) -> Place:
    return Place(
        instance=stay.instance,
        tier=stay.tier,
        slot=stay.slot,
        seq=stay.from_seq,
        at_us=stay.from_us,
        writer=stay.writer,
    )


def _parent(key: str, rows: Sequence[KeyRow], told: Mapping[int, Told]) -> str | None:
    """The key before it, as the first event that names both says."""
    for row in rows:
        event = told[row.seq].event if row.seq in told else None
        if isinstance(event, Registered | Noted | TransferStarted):
            keys = unpack_keys(event.keys)
            at = keys.index(key)
            return keys[at - 1] if at else event.parent
    return None
