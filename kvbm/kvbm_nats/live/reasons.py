"""Why look-ups missed their blocks, while they do: explain's answers, from a projection that is kept or one that is made here.

The newest look-ups are explained, and no more of them than can be explained in passing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from tempfile import TemporaryDirectory
from typing import TypeVar

from msgspec import Struct

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_events.schema.errors import KvbmError, LogUnavailable
from kvbm_nats.explain import miss_causes, request_story, why_miss
from kvbm_nats.explain.answers import MissCauses, RequestStory, WhyMiss
from kvbm_nats.projection import Projection, Projector, open_projection

Answer = TypeVar("Answer")

LOOK_UPS = 200
"""Look-ups that are explained."""
LONG = 20_000
"""Events of a log of which no projection is made here: that would take long."""
RETRY_S = 2.0


class Told(Struct, frozen=True):
    """What is known of a request: its story, and why it missed; None where nothing is."""

    story: RequestStory | None
    why: WhyMiss | None


class Reasons:
    """See the module.

    :ivar note: why nothing can be told (yet); empty while it can
    """

    def __init__(self, url: str, projection: str | None) -> None:
        self.note = "" if projection else "reading the log"
        self._url, self._projection = url, projection or ""

    async def run(self) -> None:
        """Keep a projection at the log's end, where none was named, until cancelled."""
        if self._projection:
            return
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory(prefix="kvbm-top-"))
            log = await JetStreamLog.connect(self._url, Options(name="kvbm watch explains", patience_s=5.0))
            stack.push_async_callback(log.close)
            if (last := await log.last_seq()) > LONG:
                self.note = f"the log is long ({last:,} events); --projection names one that `kvbm project` keeps"
                return
            self._projection = f"{folder}/projection.db"
            projector = Projector(log, self._projection)
            while True:
                try:
                    await projector.run()
                except LogUnavailable:
                    await asyncio.sleep(RETRY_S)
                except KvbmError as error:
                    self.note, self._projection = str(error), ""
                    return

    async def causes(self, instance: str) -> MissCauses | None:
        """Of the newest look-ups; None where `note` says why not."""
        return await self._ask(lambda projection: self._causes(projection, instance))

    async def told(self, instance: str, request: str) -> Told | None:
        """What is known of a request; None where `note` says why not."""
        return await self._ask(lambda projection: self._told(projection, instance, request))

    async def _ask(self, question: Callable[[Projection], Awaitable[Answer]]) -> Answer | None:
        if not self._projection:
            return None
        try:
            async with open_projection(self._projection) as projection:
                answer = await question(projection)
        except KvbmError as error:
            self.note = str(error)
            return None
        self.note = ""
        return answer

    @staticmethod
    async def _causes(projection: Projection, instance: str) -> MissCauses:
        last = (await projection.position()).seq
        return await miss_causes(projection, after=0, until=last, instance=instance, limit=LOOK_UPS)

    @staticmethod
    async def _told(projection: Projection, instance: str, request: str) -> Told:
        async with projection.one_moment():
            until = (await projection.position()).seq
            story = await request_story(projection, request, until=until, instance=instance)
            return Told(story, await why_miss(projection, request, instance=instance))
