"""The writer of a projection in Postgres: one transaction, its statements compiled once, rows bound by Python."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Table, bindparam, delete, update
from sqlalchemy.dialects.postgresql import asyncpg, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import ClauseElement

from kvbm_nats.projection.changes import Changes, Condemn, Drop, Put, Row
from kvbm_nats.projection.schema import (
    block,
    checkpoint,
    departure,
    instance,
    journal,
    key_entry,
    request,
    snapshot,
    tier,
    transfer,
)
from kvbm_nats.projection.schema import segment as segment_table
from kvbm_nats.projection.segments import Segment
from kvbm_statemachine import SlotState

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no types for it


def _text(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=_DIALECT))


def _upsert(table: Table) -> str:
    statement = insert(table)
    changed = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    return _text(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed))


def _delete(table: Table) -> str:
    return _text(delete(table).where(*[column == bindparam(column.name) for column in table.primary_key]))


_IN_RANGE = block.c.id.between(bindparam("first"), bindparam("last"))
_PUT = _upsert(block)
_DROP = _text(delete(block).where(_IN_RANGE))
_CONDEMN = _text(update(block).values(state=bindparam("at")).where(_IN_RANGE))
_JOURNAL = _text(insert(journal))
_APPLIED = _text(
    update(journal)
    .where(journal.c.seq == bindparam("own_seq"))
    .values(applied_seq=bindparam("at"), request=bindparam("whose"), seen=bindparam("how_often"))
)
_ADD_KEY = _text(insert(key_entry))
_ADD_DEPARTURE = _text(insert(departure))
_SEGMENT = _upsert(segment_table)
_SNAPSHOT = _upsert(snapshot)
_CHECKPOINT = _text(update(checkpoint).values(seq=bindparam("at"), message_id=bindparam("id")))
_TABLES = (instance, tier, request, transfer)
_UPSERT = {table.name: _upsert(table) for table in _TABLES}
_DELETE = {table.name: _delete(table) for table in _TABLES}


class PostgresWriter:
    """See the module. `segment` is the last one that the tables have."""

    def __init__(self, engine: AsyncEngine, segment: Segment) -> None:
        self._engine, self._segment = engine, segment

    def move_to(self, engine: AsyncEngine) -> None:
        """Go on under another name of the same tables."""
        self._engine = engine

    async def write(self, changes: Changes) -> None:
        """One transaction, or nothing.

        Raises:
            DBAPIError, OSError: the database refused.
        """
        segment = self._segment.after(changes.index_rows)
        keys = [(segment.id, key, named.seq, number) for named in changes.keys for number, key in named.rows()]
        departures = [(segment.id, *row) for row in changes.departures]
        async with self._engine.begin() as connection:
            for name, gone in changes.deletes.items():
                await _many(connection, _DELETE[name], gone)
            for name, rows in changes.upserts.items():
                await _many(connection, _UPSERT[name], rows)
            await _many(connection, _SNAPSHOT, changes.snapshots)
            await _many(connection, _JOURNAL, changes.journal)
            await _many(connection, _APPLIED, changes.applied)
            for change in changes.blocks:
                await _change(connection, change)
            await _many(connection, _ADD_KEY, sorted(keys))
            await _many(connection, _ADD_DEPARTURE, departures)
            await _many(connection, _SEGMENT, [segment])
            if changes.position:
                await _many(connection, _CHECKPOINT, [(changes.position.seq, changes.position.message_id)])
        self._segment = segment


async def _change(connection: AsyncConnection, change: Put | Drop | Condemn) -> None:
    match change:
        case Put(blocks):
            rows = [(number, int(SlotState.REGISTERED), blocks.seq, key) for number, key in blocks.rows()]
            await _many(connection, _PUT, rows)
        case Drop(ranges):
            await _many(connection, _DROP, ranges)
        case Condemn(ranges):
            await _many(connection, _CONDEMN, [(int(SlotState.CONDEMNED), *both) for both in ranges])


async def _many(connection: AsyncConnection, statement: str, rows: Sequence[Row]) -> None:
    if rows:
        await connection.exec_driver_sql(statement, list(rows))
