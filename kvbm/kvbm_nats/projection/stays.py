"""Where keys are, and were, from when to when: the look-ups that `key_entry` and `departure` are laid out for.

Every read takes many keys at once: a look-up of a key visits every segment, whichever way it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, ScalarSelect, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kvbm_events.schema import KEY_DIGITS
from kvbm_nats.projection.answers import BlockRow, KeyRow, to_block
from kvbm_nats.projection.contents import read_ids
from kvbm_nats.projection.schema import (
    DEPARTURE_SIZE,
    SLOTS_MAX,
    block,
    departure,
    journal,
    key_entry,
    place_of,
    segment,
)

KEYS_AT_ONCE = 256
"""Keys that one statement asks for."""


async def read_blocks(connection: AsyncConnection, key: bytes) -> list[BlockRow]:
    """Where the key is now."""
    wanted = (
        select(block)
        .distinct()
        .select_from(key_entry)
        .join(block, and_(block.c.id == key_entry.c.block, block.c.key == key))
        .where(_are([key]))
        .order_by(block.c.id)
    )
    names = await read_ids(connection)
    return [to_block(row, names) for row in await connection.execute(wanted)]


async def read_key_rows(connection: AsyncConnection, keys: Sequence[bytes]) -> list[KeyRow]:
    """Every event that names one of the keys, in the order of the log. A key that was asked for in vain is not named."""
    names = await read_ids(connection)
    found: list[KeyRow] = []
    entry = key_entry.c
    for at in range(0, len(keys), KEYS_AT_ONCE):
        wanted = (
            select(entry.key, entry.seq, journal.c.type, entry.block, _left().label("left"), _reset().label("reset"))
            .select_from(key_entry)
            .outerjoin(journal, journal.c.seq == entry.seq)
            .where(_are(keys[at : at + KEYS_AT_ONCE]))
        )
        for row in await connection.execute(wanted):
            instance_id, tier, slot = place_of(row.block)
            gone = min((seq for seq in (row.left, row.reset) if seq is not None), default=None)
            found.append(KeyRow(row.key.hex(), row.seq, row.type, names[instance_id], tier, slot, gone))
    return sorted(found, key=lambda row: row.seq)


async def read_keys(connection: AsyncConnection, prefix: str, limit: int) -> list[str]:
    """The first keys that begin with these hex digits."""
    low, high = (bytes.fromhex(prefix.ljust(KEY_DIGITS, digit)) for digit in "0f")
    wanted = (
        select(key_entry.c.key)
        .distinct()
        .where(key_entry.c.segment.in_(select(segment.c.id)), key_entry.c.key.between(low, high))
        .order_by(key_entry.c.key)
        .limit(limit)
    )
    return [row.key.hex() for row in await connection.execute(wanted)]


def _are(keys: Sequence[bytes]) -> ColumnElement[bool]:
    """The entries of these keys: a look-up of each in each segment."""
    return and_(key_entry.c.segment.in_(select(segment.c.id)), key_entry.c.key.in_(keys))


def _left() -> ScalarSelect[int]:
    """The first departure of the entry's slot after it."""
    return _departure(departure.c.first.between(_floor(DEPARTURE_SIZE), key_entry.c.block))


def _reset() -> ScalarSelect[int]:
    """The first time after it that the whole tier lost its blocks."""
    return _departure(departure.c.first == _floor(SLOTS_MAX))


def _floor(size: int) -> ColumnElement[int]:
    return key_entry.c.block - key_entry.c.block % size


def _departure(where: ColumnElement[bool]) -> ScalarSelect[int]:
    """The first departure that covers the block after the entry. Later segments have later ones."""
    column = departure.c
    later = select(segment.c.id).where(segment.c.id >= key_entry.c.segment).correlate(key_entry)
    covers = and_(column.first + column.size > key_entry.c.block, column.seq > key_entry.c.seq)
    first = select(column.seq).where(column.segment.in_(later), where, covers)
    return first.order_by(column.segment, column.seq).limit(1).scalar_subquery()
