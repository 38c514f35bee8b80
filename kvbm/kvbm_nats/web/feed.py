"""What comes, as server-sent events: the instance's new entries, a line each, as soon as the projection has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from msgspec import Struct

from kvbm_events.schema.errors import KvbmError
from kvbm_nats.cli.moments import clock
from kvbm_nats.cli.text import printable
from kvbm_nats.projection import Projection
from kvbm_nats.web.views.events import shown

POLL_S = 0.5
STREAMS_MAX = 64
AT_ONCE = 20
"""Entries that are told of one look; of more, the last ones, and that there were others."""
SILENCE_S = 15.0
"""After which something is said, so that who is between does not take the stream for dead."""


class _Told(Struct, frozen=True):
    """An event as the page shows it. `time` is text."""

    seq: int
    time: str
    type: str
    said: str


class _News(Struct, frozen=True):
    """`last` is the projection's sequence; with `is_more` there were entries before those that are listed."""

    last: int
    is_more: bool
    events: list[_Told]


class Feed:
    """See the module. Streams end when `closing` is set."""

    def __init__(self, projection: Projection, closing: asyncio.Event) -> None:
        self._projection, self._closing = projection, closing
        self._streams = 0

    @property
    def is_full(self) -> bool:
        """Whether no other stream is opened."""
        return self._streams >= STREAMS_MAX

    async def stream(self, instance: str, after: int | None) -> AsyncIterator[bytes]:
        """News of the instance after a sequence; after the present one where none is given."""
        self._streams += 1
        try:
            async for part in self._news(instance, after):
                yield part
        except KvbmError as error:
            yield _message("trouble", 0, msgspec.json.encode(error.what))
        finally:
            self._streams -= 1

    async def _news(self, instance: str, after: int | None) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        seen = (await self._projection.position()).seq if after is None else after
        said_s = loop.time()
        yield b"retry: 2000\n\n"
        while not self._closing.is_set():
            news = await self._since(instance, seen)
            if news.last < seen:  # it is made again
                seen = news.last
            elif news.last > seen:
                seen, said_s = news.last, loop.time()
                yield _message("news", seen, msgspec.json.encode(news))
            elif loop.time() - said_s > SILENCE_S:
                said_s = loop.time()
                yield b": nothing new\n\n"
            try:
                await asyncio.wait_for(self._closing.wait(), POLL_S)
            except TimeoutError:
                continue

    async def _since(self, instance: str, seen: int) -> _News:
        async with self._projection.one_moment():
            last = (await self._projection.position()).seq
            rows = await self._projection.journal(
                instance, after=seen, until=last, limit=AT_ONCE + 1, newest_first=True
            )
        told = [
            _Told(row.seq, clock(row.at_us), each.type, printable(each.said))
            for row in rows[AT_ONCE - 1 :: -1]
            for each in [shown(row)]
        ]
        return _News(last, len(rows) > AT_ONCE, told)


def _message(event: str, seq: int, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, event.encode(), data)
