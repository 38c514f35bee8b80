"""Reading the stream as batches of entries, through lost connections and lost consumers, up to a sequence or for ever.

Rules
1. What is delivered is what is stored, once and in order: after any break a new consumer begins after the last entry.
2. Of all instances together the sequences are read without a hole; a hole is a trim, and raises.
3. Of one instance a trim cannot be seen in the sequences, so the mark that `trim` leaves is looked up. What was
   dropped in another way (by age, by hand) shows only to who reads from the beginning: there must be an `Opened`.
4. The end of a bounded read is proven by asking the stream for a further entry, not by the consumer's count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from kvbm_events.jetstream.api import Api
from kvbm_events.jetstream.connection import RETRY_PAUSE_S
from kvbm_events.jetstream.consumer import Consumer, Delivery
from kvbm_events.jetstream.options import STREAM
from kvbm_events.jetstream.snapshots import Snapshots
from kvbm_events.jetstream.wire import MESSAGE_ID
from kvbm_events.log import Entry, lost_end, lost_start
from kvbm_events.subjects import EVERYTHING, events_of


class Reader:
    """One read of the log; see `Log.read`."""

    def __init__(
        self, api: Api, snapshots: Snapshots, instance: str | None, *, after: int = 0, until: int | None = None
    ) -> None:
        self._api, self._snapshots, self._instance = api, snapshots, instance
        self._last, self._until = after, until
        self._filter = events_of(instance) if instance is not None else EVERYTHING
        self._batch: list[Entry] = []
        self._hole_at = 0

    async def batches(self) -> AsyncIterator[list[Entry]]:
        """The batches. Raises LogGap, LogUnavailable; ends when the log is closed here."""
        connection = self._api.connection
        if self._until is not None and self._until <= self._last:
            return
        await connection.persist(self._check_start)
        loop = asyncio.get_running_loop()
        moved_at = loop.time()
        while not connection.closed:
            before = self._last
            consumer = await connection.persist(self._open)
            try:
                async for batch in self._drain(consumer):
                    yield batch
            finally:
                await consumer.stop()
            if self._until is not None and consumer.is_done and await connection.persist(self._is_at_end):
                return
            if self._last > before:
                moved_at = loop.time()
            elif loop.time() > moved_at + connection.options.patience_s:
                raise connection.unavailable(consumer.broken)
            else:
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _drain(self, consumer: Consumer) -> AsyncIterator[list[Entry]]:
        """What one consumer delivers until it is done or broken."""
        while True:
            batch, self._batch = self._batch, []
            await consumer.pull()
            if batch:
                self._last = batch[-1].seq
                yield batch
            elif self._hole_at:
                raise lost_start(self._last, self._hole_at - 1)
            elif consumer.is_done or consumer.broken:
                return
            else:
                await consumer.wait()

    async def _check_start(self) -> None:
        """Whether all that comes after the start is still there."""
        if self._instance is None:
            return
        mark = await self._snapshots.trimmed(self._instance)
        if mark > self._last:
            raise lost_start(self._last, mark)
        first = await self._api.message(STREAM, seq=1, next_by_subj=self._filter) if self._last == 0 else None
        if first and not first.headers.get(MESSAGE_ID, "").endswith(".0"):
            raise lost_start(0, first.seq - 1)

    async def _open(self) -> Consumer:
        info = await self._api.stream_info(STREAM)
        end = info.state.last_seq if info else 0
        if end < self._last:
            raise lost_end(end, self._last)
        deliver = self._take if self._instance is not None else self._take_next
        subject = self._filter if self._instance is not None else ""
        consumer = Consumer(self._api, deliver, after=self._last, until=self._until, subject=subject)
        await consumer.start()
        return consumer

    async def _is_at_end(self) -> bool:
        following = await self._api.message(STREAM, seq=self._last + 1, next_by_subj=self._filter)
        return following is None or self._until is None or following.seq > self._until

    def _take(self, delivery: Delivery) -> None:
        self._batch.append(Entry(delivery.seq, delivery.msg.subject, delivery.msg.data))

    def _take_next(self, delivery: Delivery) -> None:
        expected = self._batch[-1].seq + 1 if self._batch else self._last + 1
        if delivery.seq != expected:
            self._hole_at = self._hole_at or delivery.seq
        elif not self._hole_at:
            self._take(delivery)
