"""The screen of `kvbm top` in a test: what is on it, in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Static

from kvbm_nats.live.reasons import Reasons
from kvbm_nats.live.thread import WatchThread
from kvbm_nats.live.watch import WatchOptions
from kvbm_nats.top.app import TopApp
from kvbm_nats.top.tables import Rows

TIMEOUT_S = 60.0
INTERVAL_S = 0.1


class Screen:
    """See the module."""

    def __init__(self, app: TopApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    def text(self, name: str) -> str:
        """What a panel of the screen in front says; empty where it is not shown."""
        for panel in self.app.screen.query(f"#{name}").results(Static):
            return str(panel.content) if panel.display else ""
        return ""

    def table(self, name: str) -> Rows[Any]:
        """A table."""
        return self.app.query_one(f"#{name}", Rows)

    def rows(self, name: str) -> list[list[str]]:
        """The cells of a table."""
        table = self.table(name)
        return [[str(cell) for cell in table.get_row_at(at)] for at in range(table.row_count)]

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self.pilot.press(*keys)

    async def until(self, reached: Callable[[], object]) -> None:
        """Let the screen live until it is as wanted."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while not reached():
                    await self.pilot.pause(0.02)
        except TimeoutError:
            shown = {panel.id: str(panel.content) for panel in self.app.screen.query(Static)}
            raise AssertionError(f"it never came to that: {shown}") from None


@asynccontextmanager
async def screen(url: str, instance: str | None, *, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Screen]:
    """The screen over a log, ended with the block."""
    options = WatchOptions(url=url, instance=instance, interval_s=INTERVAL_S, is_folding=True)
    feed = await asyncio.to_thread(WatchThread(options, Reasons(url, None)).start)
    try:
        app = TopApp(feed)
        async with app.run_test(size=size) as pilot:
            yield Screen(app, pilot)
    finally:
        await asyncio.to_thread(feed.close)
