"""What a dialect must be able to do, and the choice of one by URL.

A projection is made in generations. One of them is published: readers open that. Where it must be made again, the next one
is filled beside it and published when it has caught up, and readers of the old one go on until they ask again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine

from kvbm_events.log import Position
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.projection.changes import Changes

T = TypeVar("T")


class Place(NamedTuple):
    """Where one generation is: the URL of its database and, where the dialect has such, its schema."""

    url: URL
    schema: str | None = None


class Store(Protocol):
    """One generation, open for its one writer."""

    @property
    def place(self) -> Place:
        """Where readers find it."""
        ...

    @property
    def version(self) -> str:
        """The version of its tables; empty where it has none, or none that can be read."""
        ...

    @property
    def position(self) -> Position:
        """The checkpoint."""
        ...

    @property
    def is_published(self) -> bool:
        """Whether readers are led here."""
        ...

    async def write(self, changes: Changes) -> None:
        """Write all of it and the checkpoint, in one transaction or not at all. Not interrupted by cancellation.

        Raises:
            ProjectionUnavailable: the database refused; nothing was written.
        """
        ...

    async def publish(self) -> None:
        """Lead readers here. What they were led to before can be read for a while, at the longest until the next start."""
        ...

    async def close(self) -> None:
        """Let go of the database."""
        ...


class Backend(Protocol):
    """A projection in one kind of database."""

    async def lock(self) -> None:
        """Become its one writer, until `unlock` or the end of the process.

        Raises:
            ProjectionConflict: there is one.
        """
        ...

    async def unlock(self) -> None:
        """Let another write."""
        ...

    async def newest(self) -> Store | None:
        """Open the newest generation, published or not; None where there is none. For the one writer."""
        ...

    async def create(self) -> Store:
        """Make the next, empty generation, and remove those that were never published. For the one writer.

        It is published at once where nothing else is.
        """
        ...

    def published(self) -> Place:
        """Where readers are led now.

        Raises:
            ProjectionMissing: nowhere.
        """
        ...

    def engine(self, place: Place) -> AsyncEngine:
        """An engine for reading; what it reads in one transaction is of one moment."""
        ...


def backend_of(url: str) -> Backend:
    """The projection at `sqlite:///path`, `postgresql://…`, or a bare path.

    Raises:
        InvalidCommand: it is no such URL.
    """
    try:
        parsed = make_url(url) if "://" in url else URL.create("sqlite", database=url)
    except ArgumentError as error:
        raise InvalidCommand(f"{url!r} is no URL of a projection", why=str(error)) from error
    match parsed.get_backend_name():
        case "sqlite" if parsed.database and parsed.database != ":memory:":
            from kvbm_nats.projection.sqlite import SqliteBackend  # noqa: PLC0415 - each dialect loads its own driver

            return SqliteBackend(parsed.database)
        case "postgresql":
            from kvbm_nats.projection.postgres import PostgresBackend  # noqa: PLC0415 - asyncpg is an extra

            return PostgresBackend(parsed)
        case _:
            raise InvalidCommand(
                f"a projection cannot be kept in {parsed.render_as_string()}",
                why="SQLite in a file and Postgres are known",
                hint="use sqlite:///projection.db or postgresql://user@host/database",
            )


async def to_its_end(work: Awaitable[T]) -> T:
    """What `work` gives; when cancelled, wait for its end first: a transaction is not left half-way."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
