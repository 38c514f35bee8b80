"""Where the real traces are, projections in every database, and answers about a log that a test has written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from kvbm_events.memory import MemoryLog
from kvbm_nats.explain import block_life, request_story, why_miss
from kvbm_nats.explain.answers import BlockLife, RequestStory, WhyMiss
from kvbm_nats.projection import Projection, open_projection
from projection.checks import caught_up
from projection.conftest import postgres, url
from traces.conftest import real_traces

__all__ = ["postgres", "real_traces", "url"]
A = TypeVar("A")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def read(log, tmp_path):
    """Ask a projection of the whole log, and get an answer that is there."""

    async def ask(question: Callable[[Projection], Awaitable[A | None]]) -> A:
        url = str(tmp_path / "projection.db")
        await caught_up(url, log)
        async with open_projection(url) as projection:
            found = await question(projection)
        assert found is not None
        return found

    return ask


@pytest.fixture
def ask_why(read):
    async def ask(request: str, **where) -> WhyMiss:
        return await read(lambda projection: why_miss(projection, request, **where))

    return ask


@pytest.fixture
def life_of(log, read):
    async def ask(key: str) -> BlockLife:
        last = await log.last_seq()
        return await read(lambda projection: block_life(projection, key, until=last))

    return ask


@pytest.fixture
def story_of(log, read):
    async def ask(request: str) -> RequestStory:
        last = await log.last_seq()
        return await read(lambda projection: request_story(projection, request, until=last))

    return ask
