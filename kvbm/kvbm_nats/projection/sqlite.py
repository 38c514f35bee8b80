"""The projection in SQLite: a file a generation, WAL, one writer, readers in any process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kvbm_events.log import Position
from kvbm_nats.projection.backend import Place, Store, to_its_end
from kvbm_nats.projection.changes import Changes
from kvbm_nats.projection.contents import create_tables, opened, read_position, read_segment, read_version, unavailable
from kvbm_nats.projection.generations import Generations, remove
from kvbm_nats.projection.schema import VERSION
from kvbm_nats.projection.segments import Segment
from kvbm_nats.projection.sqlite_writer import SqliteWriter, connect_reading, make_wal

T = TypeVar("T")


class SqliteBackend:
    """See `Backend`."""

    def __init__(self, path: str) -> None:
        link = Path(path).expanduser().absolute()
        self._generations = Generations(link.parent.resolve() / link.name)

    async def lock(self) -> None:
        """See `Backend.lock`."""
        self._generations.lock()

    async def unlock(self) -> None:
        """See `Backend.unlock`."""
        self._generations.unlock()

    async def newest(self) -> Store | None:
        """See `Backend.newest`."""
        self._generations.tidy()
        while file := self._generations.newest():
            store = await self._open(file)
            if store.version or store.is_published:
                return store
            await store.close()
            remove(file)  # its maker did not come to the end
        return None

    async def create(self) -> Store:
        """See `Backend.create`."""
        file = self._generations.create()
        await to_its_end(asyncio.to_thread(_make, file))
        if not self._generations.has_published():
            self._generations.publish(file)
        return await self._open(file)

    def published(self) -> Place:
        """See `Backend.published`."""
        return _place(self._generations.published())

    def engine(self, place: Place) -> AsyncEngine:
        """See `Backend.engine`."""
        engine = create_async_engine(place.url)
        event.listen(engine.sync_engine, "connect", connect_reading)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    async def _open(self, file: Path) -> SqliteStore:
        async with opened(self, _place(file)) as connection:
            version = await read_version(connection)
            if version != VERSION:
                return SqliteStore(self._generations, file, version, Position(), Segment())
            position, segment = await read_position(connection), await read_segment(connection)
        return SqliteStore(self._generations, file, version, position, segment)


class SqliteStore:
    """See `Store`."""

    def __init__(
        self, generations: Generations, file: Path, version: str, position: Position, segment: Segment
    ) -> None:
        self.version, self.position = version, position
        self.place = _place(file)
        self._generations, self._file, self._segment = generations, file, segment
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kvbm-projection")
        self._writer: SqliteWriter | None = None

    @property
    def is_published(self) -> bool:
        """See `Store`."""
        return self._generations.is_published(self._file)

    async def write(self, changes: Changes) -> None:
        """See `Store.write`."""
        await self._call(lambda: self._write(changes))
        self.position = changes.position or self.position

    async def publish(self) -> None:
        """See `Store.publish`."""
        self._generations.publish(self._file)

    async def close(self) -> None:
        """See `Store.close`."""
        if self._writer:
            await self._call(self._writer.close)
            self._writer = None
        self._thread.shutdown()

    def _write(self, changes: Changes) -> None:
        if self._writer is None:
            self._writer = SqliteWriter(self._file, self._segment)
        self._writer.write(changes)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await to_its_end(asyncio.get_running_loop().run_in_executor(self._thread, work))
        except sqlite3.Error as error:
            raise unavailable(error) from error


def _make(file: Path) -> None:
    """Make the tables, all or none."""
    maker = create_engine(URL.create("sqlite", database=str(file)))
    try:
        make_wal(file)
        with maker.begin() as connection:
            _begin(connection)  # the driver would begin with the first row only
            create_tables(connection)
    except DatabaseError as error:
        raise unavailable(error.orig or error) from error
    except sqlite3.Error as error:
        raise unavailable(error) from error
    finally:
        maker.dispose()


def _place(file: Path) -> Place:
    """A reader never makes a file: one that was removed since is an error, and not an empty database."""
    query = {"mode": "rw", "uri": "true"}
    return Place(URL.create("sqlite+aiosqlite", database=file.as_uri(), query=query))


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
