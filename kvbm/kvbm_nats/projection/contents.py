"""Reads that a projector needs of a generation before it goes on with it, in any dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Connection, Table, func, inspect, select
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kvbm_events.log import Entry, Position
from kvbm_events.subjects import ALL_TIERS, PREFIX
from kvbm_nats.projection.answers import InstanceRow
from kvbm_nats.projection.backend import Backend, Place
from kvbm_nats.projection.errors import ProjectionUnavailable
from kvbm_nats.projection.schema import VERSION, checkpoint, instance, journal, meta, metadata, segment
from kvbm_nats.projection.segments import Segment


@asynccontextmanager
async def opened(backend: Backend, place: Place) -> AsyncIterator[AsyncConnection]:
    """A connection for a few reads of one moment."""
    engine = backend.engine(place)
    try:
        async with connected(engine) as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection whose driver's errors are ours.

    Raises:
        ProjectionUnavailable: the database cannot be read.
    """
    try:
        async with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise unavailable(error.orig or error) from error
    except OSError as error:
        raise unavailable(error) from error


def unavailable(error: BaseException) -> ProjectionUnavailable:
    """The driver's error in our words."""
    return ProjectionUnavailable(
        "the projection's database failed",
        why=str(error),
        hint="look at the database and its disk; a projection that was deleted is made again from the log",
    )


def create_tables(connection: Connection) -> None:
    """Make the tables of an empty generation."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(meta.insert().values(version=VERSION))
    connection.execute(checkpoint.insert().values(seq=0, message_id=""))


async def read_version(connection: AsyncConnection) -> str:
    """The version of the tables; empty where there is none, or the database is damaged.

    Raises:
        OperationalError: it cannot be read at the moment.
    """
    async with _nothing_if_damaged():
        return (await connection.scalar(select(meta.c.version)) or "") if await _has(connection, meta) else ""
    return ""


async def read_position(connection: AsyncConnection) -> Position:
    """The checkpoint."""
    row = (await connection.execute(select(checkpoint.c.seq, checkpoint.c.message_id))).one()
    return Position(row.seq, row.message_id)


async def read_segment(connection: AsyncConnection) -> Segment:
    """The last segment."""
    newest = select(func.max(segment.c.id)).scalar_subquery()
    row = (await connection.execute(select(segment.c.id, segment.c.rows).where(segment.c.id == newest))).one_or_none()
    return Segment(row.id, row.rows) if row else Segment()


async def read_ids(connection: AsyncConnection) -> dict[int, str]:
    """The instances' names by their numbers."""
    rows = await connection.execute(select(instance.c.id, instance.c.name))
    return {row.id: row.name for row in rows}


async def read_early(connection: AsyncConnection, of: InstanceRow) -> list[Entry]:
    """The entries of an instance that wait for their turn."""
    columns = journal.c
    waiting = select(columns.seq, columns.body).where(
        columns.instance_id == of.id, columns.applied_seq.is_(None), columns.epoch == of.epoch, columns.n > of.n
    )
    rows = await connection.execute(waiting.order_by(columns.seq))
    return [Entry(row.seq, f"{PREFIX}.{of.name}.{ALL_TIERS}.early", row.body.encode()) for row in rows]


async def _has(connection: AsyncConnection, table: Table) -> bool:
    return await connection.run_sync(lambda sync: inspect(sync).has_table(table.name))


@asynccontextmanager
async def _nothing_if_damaged() -> AsyncIterator[None]:
    """Pass over that the file is not a database; that it cannot be read at the moment is an error all the same."""
    try:
        yield
    except OperationalError:
        raise
    except DatabaseError:
        pass
