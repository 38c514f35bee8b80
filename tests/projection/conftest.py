"""Where a projection is kept in the contract suite: SQLite always, Postgres where a server can be started."""

from __future__ import annotations

import importlib.util

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import DropSchema

from kvbm_nats.projection.postgres import NEXT, PUBLISHED
from projection.postgres_server import find_binaries, postgres_server


@pytest.fixture(scope="session")
def postgres():
    """The URL of a running server's `postgres` database."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("POSTGRES IS NOT TESTED: no initdb on PATH or in /usr/lib/postgresql")
    if importlib.util.find_spec("asyncpg") is None:
        pytest.skip("POSTGRES IS NOT TESTED: asyncpg is not installed (pip install 'kvbm-nats[postgres]')")
    with postgres_server(binaries) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request, tmp_path):
    """A place for a projection, empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/kept/projection.db"
    server = make_url(request.getfixturevalue("postgres"))
    engine = create_async_engine(server.set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        for schema in (PUBLISHED, NEXT):
            await connection.execute(DropSchema(schema, cascade=True, if_exists=True))
    await engine.dispose()
    return server.render_as_string(hide_password=False)
