"""Watch: follows a log, asks services, and gives a view for each interval. It only reads; nobody who decides waits for it.

Rules
1. Reading, asking and showing are tasks of their own: a view comes when it is due, whatever the others wait for.
2. What is not known is said to be unknown: while the log cannot be followed, views say why and since when.
3. A log that went away is followed on from where reading ended; one that is another now is read anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from typing import Self

from msgspec import Struct, structs

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_events.jetstream.connection import Connection
from kvbm_events.log import Entry
from kvbm_events.schema import TIERS, Attached, Opened, TierName
from kvbm_events.schema.errors import InvalidCommand, KvbmError, LogUnavailable
from kvbm_events.subjects import instance_of
from kvbm_nats.live.entries import Loose
from kvbm_nats.live.folded import Folded
from kvbm_nats.live.meter import Meter, Owners, past_samples
from kvbm_nats.live.owners import INSTANCES_MAX, ask_owners, sum_of
from kvbm_nats.live.sample import Sample
from kvbm_nats.live.view import Slots, View
from kvbm_nats.live.workers import Heard
from kvbm_nats.replay.tail import last_entries
from kvbm_nats.status import Status, TierStatus
from kvbm_tiers.job_book import wall_clock_us

SAMPLES = 120
"""Intervals that are kept."""
PAST_EVENTS = 4096
"""Events of the past that are read at the start, so that there is something to see at once."""
SLOWEST = 50
SLOW_S = 60.0
"""How long a transfer that is over is shown."""
LOOK_UPS = 100
PATIENCE_S = 5.0
RETRY_S = 1.0
INSTANCES_EVERY_S = 10.0


class WatchOptions(Struct, frozen=True, kw_only=True):
    """What is watched.

    :ivar url: of the NATS server
    :ivar instance: None for all together
    :ivar interval_s: of a view
    :ivar is_folding: also keep the instance's state where no service tells of its tiers; only of one instance
    """

    url: str
    instance: str | None = None
    interval_s: float = 1.0
    is_folding: bool = False


class Watch:
    """See the module. Made by `open`; lives on one event loop.

    :ivar instances: those that have entries, when that was last asked
    """

    def __init__(
        self, log: JetStreamLog, connection: Connection, options: WatchOptions, now_us: Callable[[], int]
    ) -> None:
        self.instances: list[str] = []
        self._log, self._connection, self._options, self._now_us = log, connection, options, now_us
        self._meter = Meter(now_us())
        self._entries: Loose | None = None
        self._folded = Folded(log, options.instance) if options.is_folding and options.instance else None
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._heard = Heard(now_us)
        self._seq = self._passed_over = 0
        self._why, self._away_since_us = "", 0
        self._said: dict[str, Status] = {}
        self._has_asked = False
        self._owners = Owners()

    @classmethod
    async def open(cls, options: WatchOptions, now_us: Callable[[], int] = wall_clock_us) -> Self:
        """Connect, and make sure that there is something to watch.

        Raises:
            LogUnavailable: no server answers.
            InvalidCommand: the log knows no such instance.
        """
        log = await JetStreamLog.connect(options.url, Options(name="kvbm watch", patience_s=PATIENCE_S))
        try:
            connection = await Connection.open(options.url, Options(name="kvbm watch asks", patience_s=PATIENCE_S))
        except LogUnavailable:
            await log.close()
            raise
        self = cls(log, connection, options, now_us)
        try:
            self.instances = await log.instances()
            if options.instance is not None:
                check_known(options.instance, self.instances, options.url)
                await self._heard.listen(connection.nc, options.instance)
        except KvbmError:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Let go of the connections."""
        await self._log.close()
        await self._connection.close()

    async def tiers(self) -> list[TierName]:
        """The tiers that the watched instances have, fastest first, as far as the log still tells them."""
        watched = self.instances if self._options.instance is None else [self._options.instance]
        opened = [await self._log.last_of(instance, Opened) for instance in watched[:INSTANCES_MAX]]
        return sorted({spec.tier for each in opened if each for spec in each.tiers}, key=TIERS.index)

    async def views(self) -> AsyncGenerator[View, None]:
        """A view for each interval, without end."""
        loop, every_s = asyncio.get_running_loop(), self._options.interval_s
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._keep_asking())]
        if self._folded:
            tasks.append(asyncio.create_task(self._folded.run(lambda: self._has_asked and not self._said)))
        try:
            due_s = loop.time()
            while True:
                due_s = max(due_s + every_s, loop.time())  # what was slept over is not made up for
                await asyncio.sleep(due_s - loop.time())
                for task in tasks:
                    if task.done():  # none of them ends but by a fault of this program
                        task.result()
                yield self._view()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                if self._entries is None:
                    self._entries = await self._begin()
                async for batch in self._log.read(self._options.instance, after=self._seq):
                    self._take(self._entries, batch)
                    await asyncio.sleep(0)
            except LogUnavailable as error:
                self._why = str(error)
            except KvbmError as error:
                self._why, self._entries = str(error), None
            await asyncio.sleep(RETRY_S)

    async def _begin(self) -> Loose:
        """Read the newest events, for what was, and go on from the log's end."""
        instance, loose = self._options.instance, Loose()
        end = await self._log.last_seq(instance)
        past = await last_entries(self._log, instance, lambda _entry: True, count=PAST_EVENTS, until=end)
        now_us, every_us = self._now_us(), round(self._options.interval_s * 1e6)
        from_us = now_us - SAMPLES * every_us
        self._meter = Meter(from_us)
        if instance and (attached := await self._log.last_of(instance, Attached)):
            self._meter.holders[instance, attached.rank] = attached.holder
        samples = past_samples(self._meter, loose.feed(past), from_us=from_us, to_us=now_us, every_us=every_us)
        self._samples.clear()
        self._samples.extend(samples)
        self._seq, self._passed_over, self._why = end, loose.passed_over, ""
        return loose

    def _take(self, entries: Loose, batch: list[Entry]) -> None:
        for numbered in entries.feed(batch):
            self._meter.take(numbered)
        passed_over = entries.passed_over
        self._meter.pass_over(max(0, passed_over - self._passed_over))
        self._seq, self._passed_over, self._why = batch[-1].seq, passed_over, ""

    async def _keep_asking(self) -> None:
        """What others know; until somebody has said it again, nothing is known."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        while True:
            began_s = loop.time()
            try:
                if began_s - asked_s > INSTANCES_EVERY_S:
                    self.instances, asked_s = await self._log.instances(), began_s
                await self._ask()
            except LogUnavailable:
                self._owners, self._said = Owners(), {}
            await asyncio.sleep(max(0.0, began_s + self._options.interval_s - loop.time()))

    async def _ask(self) -> None:
        instance = self._options.instance
        last_seq = await self._log.last_seq(instance)
        said = await ask_owners(self._connection.nc, self.instances if instance is None else [instance])
        lag = max(0, last_seq - self._seq) if self._entries else None
        self._owners = sum_of(said, self._said, self._owners.dropped, lag=lag)
        self._said, self._has_asked = said, True

    def _away(self, now_us: int) -> str:
        """Why the log is not followed; empty while it is."""
        why = self._why if self._connection.connected else f"no NATS server answers at {self._options.url}"
        self._away_since_us = (self._away_since_us or now_us) if why else 0
        return why

    def _view(self) -> View:
        now_us, instance, meter = self._now_us(), self._options.instance, self._meter
        away = self._away(now_us)
        self._samples.append(meter.sample(now_us, Owners() if away else self._owners, away))
        self._owners = structs.replace(self._owners, dropped={} if self._owners.dropped is not None else None)
        holders = {rank: holder for (name, rank), holder in meter.holders.items() if name == instance}
        return View(
            instance=instance,
            at_us=now_us,
            is_ready=self._entries is not None,
            away=away,
            away_since_us=self._away_since_us,
            seq=self._seq,
            slots=self._slots(),
            samples=list(self._samples),
            transfers=meter.moves.slowest(now_us, now_us - round(SLOW_S * 1e6), SLOWEST),
            under_way=dict(Counter(move.path for move in meter.moves.under_way if move.is_moving)),
            look_ups=list(meter.look_ups)[: -LOOK_UPS - 1 : -1],
            workers=self._heard.workers(holders),
            status=self._said.get(instance) if instance else None,
        )

    def _slots(self) -> Slots:
        """What its service says, or else its log."""
        status = self._said.get(self._options.instance or "")
        if status:
            return Slots(epoch=status.epoch, requests=status.requests, tiers=status.tiers)
        state = self._folded.state if self._folded else None
        if state is None:
            return Slots(note=self._folded.note if self._folded else "")
        tiers = [TierStatus.of(tier) for tier in state.tiers.values()]
        return Slots(epoch=state.epoch, requests=len(state.requests), tiers=tiers)


def check_known(instance: str, instances: list[str], url: str) -> None:
    """Raise InvalidCommand unless the instance is among these."""
    if instance in instances:
        return
    if not instances:
        raise nothing_there(url)
    raise InvalidCommand(
        f"nothing in the log at {url} is of instance {instance!r}",
        why=f"it knows {', '.join(instances[:8])}{' and others' if len(instances) > 8 else ''}",  # noqa: PLR2004 - a line
        hint=f"--instance {instances[0]}, or start the owner first",
    )


def nothing_there(url: str) -> InvalidCommand:
    """The error of a log without events."""
    return InvalidCommand(
        f"the log at {url} is empty",
        why="no owner has written an event there yet",
        hint="start one (`kvbm dev`, `kvbm serve`), or name another server with --nats-url",
    )


async def newest_instance(log: JetStreamLog, url: str) -> str:
    """The instance that wrote last. Raises InvalidCommand where none did."""
    last = await log.last_seq()
    entry = await log.next_entry(last - 1) if last else None
    if entry is None:
        raise nothing_there(url)
    return instance_of(entry.subject)
