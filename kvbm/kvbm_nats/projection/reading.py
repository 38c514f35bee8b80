"""Reading a projection: from any process, while it is written, by SQLAlchemy in any dialect.

async with open_projection("sqlite:///projection.db") as projection:
    for row in await projection.tiers("replica-0"): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kvbm_events.log import Position
from kvbm_events.schema import KEY_DIGITS, check_keys
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.projection import schema
from kvbm_nats.projection.answers import (
    BlockRow,
    BranchRow,
    InstanceRow,
    JournalRow,
    KeyRow,
    RequestRow,
    S,
    StayRow,
    TierRow,
    TransferRow,
    select_of,
    to_struct,
)
from kvbm_nats.projection.backend import Backend, Place, backend_of
from kvbm_nats.projection.contents import connected, read_position, read_version
from kvbm_nats.projection.errors import ProjectionMissing
from kvbm_nats.projection.journal_reads import read_branches, read_events, read_requests, read_seq_at
from kvbm_nats.projection.snapshots import read_state
from kvbm_nats.projection.stays import read_blocks, read_key_rows, read_keys
from kvbm_statemachine import State

JOURNAL_LIMIT = 10_000
"""The most rows of the journal in one answer."""


class Projection:
    """An open projection. Each method is one answer of one moment; a new generation is noticed between them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._place: Place | None = None
        self._engine: AsyncEngine | None = None
        self._opening = asyncio.Lock()
        self._held: ContextVar[AsyncConnection | None] = ContextVar("held", default=None)

    async def position(self) -> Position:
        """The checkpoint: everything up to it is in the tables, and nothing after it."""
        async with self.connection() as connection:
            return await read_position(connection)

    async def instances(self) -> list[InstanceRow]:
        """All instances, by name."""
        return await self._read(InstanceRow, select(schema.instance).order_by(schema.instance.c.name))

    async def tiers(self, instance: str | None = None) -> list[TierRow]:
        """The tiers of one instance or of all, by instance and fastest first."""
        wanted = select_of(schema.tier, instance)
        return await self._read(TierRow, wanted.order_by(schema.instance.c.name, schema.tier.c.tier))

    async def requests(self, instance: str | None = None) -> list[RequestRow]:
        """The open requests of one instance or of all, by instance and name."""
        wanted = select_of(schema.request, instance)
        return await self._read(RequestRow, wanted.order_by(schema.instance.c.name, schema.request.c.name))

    async def transfers(self, instance: str | None = None) -> list[TransferRow]:
        """The open transfers of one instance or of all, by instance and id."""
        wanted = select_of(schema.transfer, instance)
        return await self._read(TransferRow, wanted.order_by(schema.instance.c.name, schema.transfer.c.id))

    async def blocks(self, key: str) -> list[BlockRow]:
        """Where the block with this key is now: a row for each instance and tier that has it.

        Raises:
            InvalidCommand: that is not a key.
        """
        packed = bytes.fromhex(check_keys([key]))
        async with self.connection() as connection:
            return await read_blocks(connection, packed)

    async def stays(self, key: str) -> list[StayRow]:
        """Where the block with this key was, and from when to when, in every instance and tier.

        Raises:
            InvalidCommand: that is not a key.
        """
        rows = await self.key_rows([key])
        return [StayRow(row.instance, row.tier, row.slot, row.seq, row.gone_seq) for row in rows if row.is_arrival]

    async def key_rows(self, keys: Sequence[str]) -> list[KeyRow]:
        """Every event that names one of the keys, in the order of the log: arrivals, transfers, failures.

        Raises:
            InvalidCommand: one of them is not a key.
        """
        check_keys(keys)
        async with self.connection() as connection:
            return await read_key_rows(connection, [bytes.fromhex(key) for key in dict.fromkeys(keys)])

    async def keys(self, prefix: str, limit: int = 10) -> list[str]:
        """The first keys, of any time, that begin with these digits.

        Raises:
            InvalidCommand: they are not 1 to 32 lower-case hex digits.
        """
        if not prefix or len(prefix) > KEY_DIGITS or set(prefix) - set("0123456789abcdef"):
            raise InvalidCommand(
                f"{prefix[:48]!r} begins no block key", why=f"a key is {KEY_DIGITS} lower-case hex digits"
            )
        async with self.connection() as connection:
            return await read_keys(connection, prefix, limit)

    async def journal(
        self,
        instance: str | None = None,
        *,
        types: Sequence[str] = (),
        after: int = 0,
        until: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[JournalRow]:
        """Entries with `after < seq ≤ until` in the order of the log, of one instance or of all, at most `limit`.

        Where `types` are given, only those of these events; with `newest_first` the last ones, in turned order.

        Raises:
            InvalidCommand: the limit is not 1 to `JOURNAL_LIMIT`.
        """
        if not 1 <= limit <= JOURNAL_LIMIT:
            raise InvalidCommand(
                f"{limit} rows of the journal", why=f"one answer has 1 to {JOURNAL_LIMIT}", hint="read on with `after`"
            )
        columns = schema.journal.c
        wanted = select_of(schema.journal, instance, without="parent")
        order = columns.seq.desc() if newest_first else columns.seq
        wanted = wanted.where(columns.seq > after).order_by(order).limit(limit)
        if until is not None:
            wanted = wanted.where(columns.seq <= until)
        if types:
            wanted = wanted.where(columns.type.in_(types))
        return await self._read(JournalRow, wanted)

    async def events(self, seqs: Sequence[int]) -> dict[int, JournalRow]:
        """The entries at these sequences, those that there are."""
        async with self.connection() as connection:
            return {row.seq: row for row in await read_events(connection, seqs)}

    async def stories(self, requests: Sequence[str], until: int) -> list[JournalRow]:
        """What the log says of these requests up to and with a sequence, in its order; evictions for them, too."""
        async with self.connection() as connection:
            return await read_requests(connection, requests, until)

    async def branches(self, parents: Sequence[str]) -> list[BranchRow]:
        """Who registered blocks right behind these, at any time and in any instance. See `BranchRow`."""
        async with self.connection() as connection:
            return await read_branches(connection, [bytes.fromhex(parent) for parent in dict.fromkeys(parents)])

    async def seq_at(self, at_us: int) -> int:
        """The last sequence before the first entry that is later than a time; 0 where there is no entry."""
        async with self.connection() as connection:
            return await read_seq_at(connection, at_us)

    async def state(self, instance: str, seq: int) -> State:
        """The instance's state after all its entries up to and with a sequence, as its owner had it.

        Raises:
            InvalidCommand: the projection has nothing of the instance up to there.
        """
        async with self.connection() as connection:
            return await read_state(connection, instance, seq)

    @asynccontextmanager
    async def one_moment(self) -> AsyncIterator[None]:
        """Let all reads of this task within the block be of one moment. One within another is the outer one.

        Raises:
            ProjectionMissing, ProjectionUnavailable: as `connection`.
        """
        if self._held.get():
            yield
            return
        async with connected(await self._current()) as connection:
            token = self._held.set(connection)
            try:
                yield
            finally:
                self._held.reset(token)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose reads are all of one moment, for queries of one's own over `projection.schema`.

        Raises:
            ProjectionMissing: there is no projection, or it is of another version.
            ProjectionUnavailable: the database cannot be read.
        """
        if held := self._held.get():
            yield held
            return
        async with connected(await self._current()) as connection:
            yield connection

    async def close(self) -> None:
        """Let go of the database."""
        if self._engine:
            await self._engine.dispose()
            self._engine = self._place = None

    async def _current(self) -> AsyncEngine:
        """An engine for the generation that is published now."""
        async with self._opening:
            place = self._backend.published()
            if self._engine and place == self._place:
                return self._engine
            await self.close()
            engine = self._backend.engine(place)
            try:
                async with connected(engine) as connection:
                    check_version(await read_version(connection))
            except BaseException:
                await engine.dispose()
                raise
            self._place, self._engine = place, engine
            return engine

    async def _read(self, kind: type[S], wanted: Select[Any]) -> list[S]:
        async with self.connection() as connection:
            rows = await connection.execute(wanted)
            return [to_struct(kind, row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


@asynccontextmanager
async def open_projection(url: str) -> AsyncIterator[Projection]:
    """Open a projection for reading; closed at the end of the block. See `Projection`.

    Args:
        url: `sqlite:///projection.db`, `postgresql://user@host/database`, or a path

    Raises:
        InvalidCommand: that is no such URL.
    """
    projection = Projection(backend_of(url))
    try:
        yield projection
    finally:
        await projection.close()


def check_version(version: str) -> None:
    """Raise ProjectionMissing unless the tables are of this program's version."""
    if version != schema.VERSION:
        raise ProjectionMissing(
            f"the projection is of version {version or 'none'}",
            why=f"this program reads version {schema.VERSION}",
            hint="let this program's projector make it again from the log",
        )
