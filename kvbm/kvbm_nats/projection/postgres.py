"""The projection in Postgres: a schema a generation, one writer by advisory lock, readers at one moment each.

Simpler than SQLite's and slower: rows are bound by Python. Its driver, asyncpg, is an extra of the distribution.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import URL, Table, bindparam, delete, inspect, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql import ClauseElement

from kvbm_events.log import Position
from kvbm_nats.projection.backend import Place, Store
from kvbm_nats.projection.changes import Changes, Condemn, Drop, Put
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
from kvbm_nats.projection.schema import (
    SEGMENT_ROWS,
    VERSION,
    block,
    checkpoint,
    instance,
    journal,
    key_entry,
    request,
    segment,
    tier,
    transfer,
)

PUBLISHED = "kvbm_projection"
NEXT = "kvbm_projection_next"
_LOCK = 0x6B76626D  # any number, the same for all projectors

_DIALECT = postgresql.asyncpg.dialect()


def _text(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=_DIALECT))
