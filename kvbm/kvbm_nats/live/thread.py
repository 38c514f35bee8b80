"""A watch on a thread of its own, so that who shows it never waits: for NATS, for a fold, for an explanation."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import Self

from msgspec import structs

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_events.schema.errors import LogUnavailable
from kvbm_nats.explain.answers import MissCauses
from kvbm_nats.live.reasons import Reasons, Told
from kvbm_nats.live.view import View
from kvbm_nats.live.watch import PATIENCE_S, RETRY_S, Watch, WatchOptions, newest_instance

EXPLAIN_EVERY_S = 5.0


class WatchThread:
    """See the module. What it has is read from any thread.

    :ivar view: the newest one; None until there is one of the instance
    :ivar causes: why the newest look-ups missed; None until that is known
    :ivar instances: those that can be shown
    :ivar failure: what ended it; None while it lives
    """

    def __init__(self, options: WatchOptions, reasons: Reasons) -> None:
        self.view: View | None = None
        self.causes: MissCauses | None = None
        self.instances: list[str] = []
        self.failure: BaseException | None = None
        self.reasons = reasons
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._first: Future[None] = Future()
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._live, name="kvbm-watch", daemon=True)

    @property
    def instance(self) -> str:
        """The one that is shown, or will be with the next view."""
        return self._options.instance or ""

    def start(self) -> Self:
        """Connect; without an instance, the one that wrote last is watched.

        Raises:
            LogUnavailable: no server answers.
            InvalidCommand: the log knows no such instance.
        """
        self._thread.start()
        try:
            self._first.result()
        except BaseException:
            self.close()
            raise
        return self

    def show(self, instance: str) -> None:
        """Watch another instance from now on."""
        self._options = structs.replace(self._options, instance=instance)
        self.view = self.causes = None

    def ask(self, request: str) -> Future[Told | None]:
        """What is known of a request of the instance that is shown."""
        return asyncio.run_coroutine_threadsafe(self.reasons.told(self.instance, request), self._loop)

    def close(self) -> None:
        """End it, and wait for its end."""
        if self._main:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._run())
            except asyncio.CancelledError:
                pass
            except BaseException as error:  # noqa: BLE001 - it is told on the thread that shows
                self.failure = error
                if not self._first.done():
                    self._first.set_exception(error)

    async def _run(self) -> None:
        self._main = asyncio.current_task()
        if self._options.instance is None:
            await self._choose()
        tasks = [asyncio.create_task(self.reasons.run()), asyncio.create_task(self._explain())]
        try:
            while True:
                try:
                    await self._watch(self._options)
                except LogUnavailable:
                    if not self._first.done():
                        raise
                    await asyncio.sleep(RETRY_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _choose(self) -> None:
        url = self._options.url
        log = await JetStreamLog.connect(url, Options(name="kvbm watch", patience_s=PATIENCE_S))
        try:
            self._options = structs.replace(self._options, instance=await newest_instance(log, url))
        finally:
            await log.close()

    async def _watch(self, options: WatchOptions) -> None:
        """Until another instance is wanted."""
        watch = await Watch.open(options)
        try:
            if not self._first.done():
                self._first.set_result(None)
            async with aclosing(watch.views()) as views:
                async for view in views:
                    if self._options is not options:
                        return
                    self.view, self.instances = view, watch.instances
        finally:
            await watch.close()

    async def _explain(self) -> None:
        while True:
            if self.view and self.view.is_ready and not self.view.away:
                instance = self.instance
                causes = await self.reasons.causes(instance)
                if instance == self.instance:
                    self.causes = causes
            await asyncio.sleep(EXPLAIN_EVERY_S if self.causes else RETRY_S)
