"""What the tests of a projection do and ask again and again."""

from __future__ import annotations

import asyncio

from sqlalchemy import Executable
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from kvbm_events.log import Snapshot
from kvbm_nats.projection import Projector, open_projection, verify
from kvbm_nats.projection.backend import backend_of
from kvbm_statemachine import State, digest_of, evolve, to_bytes


async def caught_up(url, log, until=None, **options):
    """A projector that ran to the end of the log."""
    projector = Projector(log, url, **options)
    await projector.run(until or await log.last_seq())
    return projector


async def assert_equal(url, log):
    found = await verify(url, log)
    assert found.is_equal, found.difference
    return found


async def journal_of(url, **where):
    async with open_projection(url) as projection:
        return await projection.journal(limit=10_000, **where)


def snapshot_of(name, events, at, seq):
    """The snapshot that an owner writes after its event number `at` (from 1), stored at `seq`."""
    state = State()
    for event in events[:at]:
        evolve(state, event)
    data = to_bytes(state)
    return Snapshot(instance=name, epoch=state.epoch, n=state.n, seq=seq, at_us=1, digest=digest_of(data), state=data)


async def reached(projector, seq):
    """Wait until a projector that runs has written up to here."""
    async with asyncio.timeout(30):
        while projector.status.seq < seq:  # noqa: ASYNC110 - a status is there to be polled
            await asyncio.sleep(0.001)


async def execute(url: str, statement: Executable) -> None:
    """Change the published tables, as no reader can."""
    place = backend_of(url).published()
    arguments = {"server_settings": {"search_path": place.schema}} if place.schema else {}
    engine = create_async_engine(URL.create(**place.url._asdict()), connect_args=arguments)
    async with engine.begin() as connection:
        await connection.execute(statement)
    await engine.dispose()
