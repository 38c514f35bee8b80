"""Where a projection is kept in the contract suite: SQLite always, Postgres where a server can be started."""

from __future__ import annotations

import importlib.util
from itertools import count

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from projection.postgres_server import find_binaries, postgres_server

_numbers = count(1)


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
    name = f"test_{next(_numbers)}"
    engine = create_async_engine(server.set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)
