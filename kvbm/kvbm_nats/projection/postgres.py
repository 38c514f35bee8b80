"""The projection in Postgres: a schema a generation, one writer by advisory lock, readers at one moment each.

Simpler than in SQLite and slower: every row is bound by Python. Its driver, asyncpg, is an extra of the distribution.
"""

from __future__ import annotations

from sqlalchemy import URL, func, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateSchema, DropSchema

from kvbm_events.log import Position
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.projection.backend import Place, Store, to_its_end
from kvbm_nats.projection.changes import Changes
from kvbm_nats.projection.contents import (
    connected,
    create_tables,
    opened,
    read_position,
    read_segment,
    read_version,
    unavailable,
)
from kvbm_nats.projection.errors import ProjectionConflict
from kvbm_nats.projection.postgres_writer import PostgresWriter
from kvbm_nats.projection.schema import VERSION
from kvbm_nats.projection.segments import Segment

PUBLISHED = "kvbm_projection"
NEXT = "kvbm_projection_next"
_LOCK = 0x6B76626D
"""Any number: the same for all projectors of a database."""


class PostgresBackend:
    """See `Backend`."""

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="postgresql+asyncpg")
        try:
            self._plain = create_async_engine(self._url, isolation_level="AUTOCOMMIT")
        except ModuleNotFoundError as error:
            raise InvalidCommand(
                "a projection in Postgres needs asyncpg", why=str(error), hint="pip install 'kvbm-nats[postgres]'"
            ) from error
        self._lock: AsyncConnection | None = None

    async def lock(self) -> None:
        """See `Backend.lock`."""
        try:
            connection = await self._plain.connect()
        except (DBAPIError, OSError) as error:
            raise unavailable(error) from error
        if not await connection.scalar(select(func.pg_try_advisory_lock(_LOCK))):
            await connection.close()
            await self._plain.dispose()
            raise ProjectionConflict(
                f"{self._url.render_as_string()} has a projector",
                why="another session holds its advisory lock",
                hint="stop the other one, or give this one a database of its own",
            )
        self._lock = connection

    async def unlock(self) -> None:
        """See `Backend.unlock`."""
        if self._lock:
            await self._lock.close()
            self._lock = None
        await self._plain.dispose()  # the session ends, and its lock with it

    async def newest(self) -> Store | None:
        """See `Backend.newest`."""
        schemas = await self._schemas()
        schema = next((name for name in (NEXT, PUBLISHED) if name in schemas), None)
        return await self._open(schema) if schema else None

    async def create(self) -> Store:
        """See `Backend.create`."""
        schema = NEXT if PUBLISHED in await self._schemas() else PUBLISHED
        maker = _engine(self._url, schema)
        try:
            async with maker.begin() as transaction:
                await transaction.execute(DropSchema(schema, cascade=True, if_exists=True))
                await transaction.execute(CreateSchema(schema))
                await transaction.run_sync(create_tables)
        except DBAPIError as error:
            raise unavailable(error.orig or error) from error
        finally:
            await maker.dispose()
        return await self._open(schema)

    def published(self) -> Place:
        """See `Backend.published`. Whether anything is there is seen when it is read."""
        return Place(self._url, PUBLISHED)

    def engine(self, place: Place) -> AsyncEngine:
        """See `Backend.engine`."""
        return _engine(place.url, place.schema or PUBLISHED, isolation_level="REPEATABLE READ", read_only="on")

    async def _schemas(self) -> list[str]:
        async with connected(self._plain) as connection:
            return await connection.run_sync(lambda sync: inspect(sync).get_schema_names())

    async def _open(self, schema: str) -> Store:
        place = Place(self._url, schema)
        async with opened(self, place) as connection:
            version = await read_version(connection)
            if version != VERSION:
                return PostgresStore(place, version, Position(), Segment())
            position, segment = await read_position(connection), await read_segment(connection)
        return PostgresStore(place, version, position, segment)


class PostgresStore:
    """See `Store`."""

    def __init__(self, place: Place, version: str, position: Position, segment: Segment) -> None:
        self.place, self.version, self.position = place, version, position
        self.is_published = place.schema == PUBLISHED
        self._engine = _engine(place.url, place.schema or PUBLISHED)
        self._writer = PostgresWriter(self._engine, segment)

    async def write(self, changes: Changes) -> None:
        """See `Store.write`."""
        try:
            await to_its_end(self._writer.write(changes))
        except (DBAPIError, OSError) as error:
            raise unavailable(error) from error
        self.position = changes.position or self.position

    async def publish(self) -> None:
        """See `Store.publish`."""
        await self._engine.dispose()
        plain = create_async_engine(self.place.url)
        try:
            async with plain.begin() as connection:
                await connection.execute(DropSchema(PUBLISHED, cascade=True, if_exists=True))
                await connection.exec_driver_sql(f"ALTER SCHEMA {NEXT} RENAME TO {PUBLISHED}")
        except DBAPIError as error:
            raise unavailable(error.orig or error) from error
        finally:
            await plain.dispose()
        self.place, self.is_published = Place(self.place.url, PUBLISHED), True
        self._engine = _engine(self.place.url, PUBLISHED)
        self._writer.move_to(self._engine)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._engine.dispose()


def _engine(url: URL, schema: str, *, isolation_level: str = "READ COMMITTED", read_only: str = "off") -> AsyncEngine:
    """An engine whose tables are those of one schema. A schema may be renamed, so no statement is kept prepared."""
    settings = {"search_path": schema, "default_transaction_read_only": read_only}
    return create_async_engine(
        url,
        isolation_level=isolation_level,
        connect_args={"server_settings": settings, "prepared_statement_cache_size": 0},
    )
