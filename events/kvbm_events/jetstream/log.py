"""The log in JetStream: one stream for the events of all instances, one object store for the snapshots.

Reading and writing are in modules of their own (`reader`, `publisher`); here they are put together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar
from weakref import WeakSet

from kvbm_events.codec import decode
from kvbm_events.jetstream.api import Api
from kvbm_events.jetstream.claim import claim
from kvbm_events.jetstream.connection import Connection
from kvbm_events.jetstream.options import STREAM, Options
from kvbm_events.jetstream.outbox import Outbox
from kvbm_events.jetstream.presence import is_owned
from kvbm_events.jetstream.publisher import JetStreamWriter
from kvbm_events.jetstream.reader import Reader
from kvbm_events.jetstream.seek import Start, seek
from kvbm_events.jetstream.snapshots import Snapshots
from kvbm_events.jetstream.stream import describe, ensure_stream, is_sync_always
from kvbm_events.jetstream.wire import MESSAGE_ID
from kvbm_events.log import Entry, LogInfo, Position, Snapshot, not_covered
from kvbm_events.schema import Attached, Opened
from kvbm_events.schema.errors import LogError, LogUnavailable
from kvbm_events.subjects import EVERYTHING, events_of, instance_of, parse_message_id, whole_of

Told = TypeVar("Told", Opened, Attached)


class JetStreamLog:
    """See `Log`. Lives on the event loop that connected it."""

    def __init__(self, connection: Connection, *, replicas: int, sync_always: bool | None) -> None:
        self._connection = connection
        self._api = Api(connection)
        self._snapshots = Snapshots(self._api, connection.options)
        self._is_serial, self._sync_always = replicas > 1, sync_always
        self._writers: WeakSet[JetStreamWriter] = WeakSet()

    @classmethod
    async def connect(cls, url: str, options: Options = Options()) -> JetStreamLog:  # noqa: B008 - frozen
        """Connect to a server, or to one of several (`nats://a:4222,nats://b:4222`), and make sure of the stream.

        Raises:
            LogUnavailable: nobody answers, the server is too old, or JetStream refuses the stream.
            LogFull: the server has no room for a stream with this `max_bytes`.
        """
        connection = await Connection.open(url, options)
        try:
            api = Api(connection)
            info = await connection.persist(lambda: ensure_stream(api, options))
            replicas = int(info.config.get("num_replicas", 1))
            await connection.persist(lambda: Snapshots(api, options).ensure_bucket(replicas))
            sync_always = await is_sync_always(options)
        except LogError:
            await connection.close()
            raise
        return cls(connection, replicas=replicas, sync_always=sync_always)

    async def open_writer(
        self, instance: str, opened: Opened, after: int, on_acked: Callable[[int], None] = lambda _n: None
    ) -> JetStreamWriter:
        """See `Log.open_writer`."""
        seq = await claim(self._api, instance, opened, after)
        may_group = self._is_serial or self._sync_always is not False
        window = self._connection.options.window
        outbox = Outbox(opened.n, window, is_serial=self._is_serial, may_group=may_group)
        writer = JetStreamWriter(self._api, instance, opened, seq, on_acked, outbox)
        await writer.start()
        self._writers.add(writer)
        return writer

    def read(
        self, instance: str | None = None, *, after: int = 0, until: int | None = None
    ) -> AsyncIterator[list[Entry]]:
        """See `Log.read`."""
        return Reader(self._api, self._snapshots, instance, after=after, until=until).batches()

    async def last_seq(self, instance: str | None = None) -> int:
        """See `Log.last_seq`."""
        if instance is None:
            info = await self._api.stream_info(STREAM)
            return info.state.last_seq if info else 0
        last = await self._api.message(STREAM, last_by_subj=events_of(instance))
        return last.seq if last else 0

    async def instances(self) -> list[str]:
        """See `Log.instances`."""
        return sorted({instance_of(subject) for subject in await self._api.subjects(STREAM, EVERYTHING)})

    async def seek(self, instance: str, epoch: int, n: int) -> Start:
        """Where to begin reading in order to have every event of the instance after `(epoch, n)`.

        Raises:
            LogGap: the instance has no event of this epoch.
            LogUnavailable: as it says.
        """
        return await seek(self._api, instance, epoch, n, trimmed=await self._snapshots.trimmed(instance))

    async def last_place(self, instance: str) -> tuple[int, int] | None:
        """`(epoch, n)` of the instance's last entry, of whoever wrote it; None where there is none."""
        last = await self._api.message(STREAM, last_by_subj=events_of(instance))
        return parse_message_id(last.headers.get(MESSAGE_ID, "")) if last else None

    async def last_of(self, instance: str, kind: type[Told]) -> Told | None:
        """The newest event of a kind that concerns the whole instance; None where it was trimmed, or there never was one."""
        last = await self._api.message(STREAM, last_by_subj=whole_of(instance, kind))
        event = decode(last.data) if last else None
        return event if isinstance(event, kind) else None

    async def is_owned(self, instance: str) -> bool:
        """Whether an owner of the instance lives: it answers, and nobody has claimed the instance since.

        Raises:
            LogUnavailable: as it says.
        """
        last = await self.last_place(instance)
        return last is not None and await is_owned(self._connection, instance, last[0])

    async def position(self, seq: int) -> Position | None:
        """See `Log.position`."""
        found = await self._api.message(STREAM, seq=seq) if seq > 0 else None
        return Position(seq, found.headers.get(MESSAGE_ID, "")) if found else None

    async def next_entry(self, after: int, instance: str | None = None) -> Entry | None:
        """See `Log.next_entry`."""
        pattern = EVERYTHING if instance is None else events_of(instance)
        found = await self._api.message(STREAM, seq=after + 1, next_by_subj=pattern)
        return Entry(found.seq, found.subject, found.data) if found else None

    async def info(self) -> LogInfo:
        """See `Log.info`."""
        info = await self._api.stream_info(STREAM)
        if info is None:
            raise LogUnavailable(f"there is no stream {STREAM}", why="somebody deleted it", hint="connect again")
        return describe(info, sync_always=self._sync_always)

    async def trim(self, instance: str, seq: int) -> None:
        """See `Log.trim`."""
        newest = await self._snapshots.newest_seq(instance)
        if newest < seq:
            raise not_covered(instance, seq, newest)
        end = min(seq, await self.last_seq(instance) - 1)
        if end > await self._snapshots.trimmed(instance):
            await self._snapshots.mark_trimmed(instance, end)
            await self._api.purge(STREAM, filter=events_of(instance), seq=end + 1)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `Log.save_snapshot`."""
        await self._snapshots.save(snapshot)

    async def load_snapshot(self, instance: str, until: int | None = None) -> Snapshot | None:
        """See `Log.load_snapshot`."""
        return await self._snapshots.load(instance, until)

    async def close(self) -> None:
        """See `Log.close`."""
        closed = LogUnavailable("the log is closed", hint="connect again")
        await asyncio.gather(*(writer.stop(closed) for writer in list(self._writers)))
        await self._connection.close()
