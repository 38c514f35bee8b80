"""Where a key is, and was, from when to when: the look-ups that `key_entry` and `departure` are laid out for."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kvbm_events.schema import MAX_BLOCKS
from kvbm_nats.projection.answers import BlockRow, StayRow, to_block
from kvbm_nats.projection.contents import read_ids
from kvbm_nats.projection.schema import block, departure, journal, key_entry, place_of, segment
from kvbm_statemachine import SlotState

_ARRIVALS = ("Registered", "OffloadCompleted", "OnboardCompleted")


class _Arrival(NamedTuple):
    """An event that brought the key to a block, and the same sequence again if it is there still."""

    segment: int
    seq: int
    block: int
    here: int | None


async def read_blocks(connection: AsyncConnection, key: bytes) -> list[BlockRow]:
    """Where the key is now."""
    wanted = (
        select(block)
        .distinct()
        .select_from(key_entry)
        .join(block, and_(block.c.id == key_entry.c.block, block.c.key == key))
        .where(_has(key))
        .order_by(block.c.id)
    )
    names = await read_ids(connection)
    return [to_block(row, names) for row in await connection.execute(wanted)]


async def read_stays(connection: AsyncConnection, key: bytes) -> list[StayRow]:
    """Every stay of the key, in any instance and tier, the first one first."""
    entry = key_entry.c
    is_here = and_(block.c.id == entry.block, block.c.seq == entry.seq, block.c.state == int(SlotState.REGISTERED))
    arrivals = await connection.execute(
        select(entry.segment, entry.seq, entry.block, block.c.seq.label("here"))
        .select_from(key_entry)
        .outerjoin(journal, journal.c.seq == entry.seq)
        .outerjoin(block, is_here)
        # A block that came with a snapshot has no event of its own.
        .where(_has(key), or_(journal.c.type.is_(None), journal.c.type.in_(_ARRIVALS)))
        .order_by(entry.seq)
    )
    names = await read_ids(connection)
    return [await _stay(connection, _Arrival(*row), names) for row in arrivals.all()]


def _has(key: bytes) -> ColumnElement[bool]:
    """The entries of a key: one look-up in each segment."""
    return and_(key_entry.c.segment.in_(select(segment.c.id)), key_entry.c.key == key)


async def _stay(connection: AsyncConnection, arrival: _Arrival, names: dict[int, str]) -> StayRow:
    instance_id, tier, slot = place_of(arrival.block)
    to_seq = None
    if arrival.here is None:
        first = departure.c.first
        low = arrival.block - min(slot, MAX_BLOCKS - 1)  # no event names more blocks
        left = await _departure(connection, arrival, first.between(low, arrival.block))
        reset = await _departure(connection, arrival, first == arrival.block - slot)
        to_seq = min((seq for seq in (left, reset) if seq is not None), default=None)
    return StayRow(names[instance_id], tier, slot, arrival.seq, to_seq)


async def _departure(connection: AsyncConnection, arrival: _Arrival, where: ColumnElement[bool]) -> int | None:
    """The first departure that covers the block after it arrived. Later segments have later departures."""
    column = departure.c
    since = select(segment.c.id).where(segment.c.id >= arrival.segment)
    wanted = (
        select(column.seq)
        .where(column.segment.in_(since), where)
        .where(column.first + column.size > arrival.block, column.seq > arrival.seq)
        .order_by(column.segment, column.seq)
        .limit(1)
    )
    found: int | None = await connection.scalar(wanted)
    return found
