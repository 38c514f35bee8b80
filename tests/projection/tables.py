"""Reaching into a projection's tables behind its back."""

from __future__ import annotations

from sqlalchemy import Executable
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from kvbm_nats.projection.backend import backend_of


async def execute(url: str, statement: Executable) -> None:
    """Change the published tables, as no reader can."""
    place = backend_of(url).published()
    arguments = {"server_settings": {"search_path": place.schema}} if place.schema else {}
    engine = create_async_engine(URL.create(**place.url._asdict()), connect_args=arguments)
    async with engine.begin() as connection:
        await connection.execute(statement)
    await engine.dispose()
