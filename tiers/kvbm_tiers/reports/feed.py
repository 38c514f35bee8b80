"""Reading the reports of one instance, from a sequence on and through every break, for ever.

Other than the log this stream forgets. A hole is no error here, and a stream that is shorter than what was read from it
is a new one, which is read from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from kvbm_events.jetstream.api import Api
from kvbm_events.jetstream.connection import RETRY_PAUSE_S
from kvbm_events.jetstream.consumer import Consumer, Delivery
from kvbm_events.log import Entry
from kvbm_events.schema.errors import LogUnavailable
from kvbm_tiers.reports.messages import reports_of
from kvbm_tiers.reports.stream import REPORTS, ReportsOptions, ensure_reports

_logger = structlog.get_logger(__name__)


class ReportFeed:
    """See the module. `start` first, so that nothing said after it is missed; then `batches`."""

    def __init__(self, api: Api, instance: str, options: ReportsOptions) -> None:
        self._api, self._subject, self._options = api, reports_of(instance), options
        self._last = 0
        self._batch: list[Entry] = []

    async def start(self) -> None:
        """Make sure of the stream, and begin at its present end. Raises LogUnavailable, LogFull."""
        connection = self._api.connection
        info = await connection.persist(lambda: ensure_reports(self._api, self._options))
        self._last = info.state.last_seq

    async def batches(self) -> AsyncIterator[list[Entry]]:
        """What came since, and what comes; ends when the connection is closed here."""
        connection = self._api.connection
        while not connection.closed:
            try:
                consumer = await connection.persist(self._open)
            except LogUnavailable as error:
                if not connection.closed:
                    _logger.warning("reports cannot be read", why=str(error))
                continue
            try:
                async for batch in self._drain(consumer):
                    yield batch
            finally:
                await consumer.stop()
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _drain(self, consumer: Consumer) -> AsyncIterator[list[Entry]]:
        while True:
            batch, self._batch = self._batch, []
            await consumer.pull()
            if batch:
                self._last = batch[-1].seq
                yield batch
            elif consumer.broken:
                return
            else:
                await consumer.wait()

    async def _open(self) -> Consumer:
        info = await self._api.stream_info(REPORTS) or await ensure_reports(self._api, self._options)
        if info.state.last_seq < self._last:
            self._last = 0
        consumer = Consumer(self._api, self._take, stream=REPORTS, after=self._last, subject=self._subject)
        await consumer.start()
        return consumer

    def _take(self, delivery: Delivery) -> None:
        self._batch.append(Entry(delivery.seq, delivery.msg.subject, delivery.msg.data))
