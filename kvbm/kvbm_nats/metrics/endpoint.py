"""`/metrics` over HTTP, on a thread of its own; what is asked for is gathered when it is asked for.

One scrape is gathered at a time. What cannot be read in time is left out of the answer, and said in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from threading import Lock

import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.metrics.families import Families

MEASURE_TIMEOUT_S = 3.0
"""How long one scrape waits: an owner that waits for its log answers later than Prometheus would wait."""

Measure = Callable[[Families], None]

_logger = structlog.get_logger(__name__)


class MetricsPlace(Struct, frozen=True):
    """Where to listen; port 0 is one that the system chooses."""

    host: str
    port: int


class _Gathering(Collector):
    """Asks anew at every scrape."""

    def __init__(self, measure: Measure) -> None:
        self._measure, self._lock = measure, Lock()

    def collect(self) -> list[Family]:
        """What there is to tell."""
        families = Families()
        with self._lock:
            try:
                self._measure(families)
            except Exception as error:  # noqa: BLE001 - half of the figures are better than none, and Prometheus asks again
                _logger.warning("metrics are incomplete", error=type(error).__name__, why=str(error))
        return families.told()


@contextmanager
def exposed(place: MetricsPlace | None, measure: Measure) -> Iterator[str]:
    """Answer scrapes until the end of the block; yields the URL. Nothing, and an empty URL, where there is no place.

    Args:
        place: where to listen
        measure: adds what there is to tell, on the server's threads, one at a time

    Raises:
        InvalidCommand: nobody can listen there.
    """
    if place is None:
        yield ""
        return
    registry = CollectorRegistry()
    registry.register(_Gathering(measure))
    try:
        server, thread = start_http_server(place.port, place.host, registry)
    except (OSError, OverflowError) as error:
        raise InvalidCommand(
            f"metrics cannot be had at {place.host}:{place.port}",
            why=str(error),
            hint="another --metrics-port, or 0 for a free one",
        ) from error
    url = f"http://{place.host}:{server.server_port}/metrics"
    _logger.info("metrics", url=url)
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@asynccontextmanager
async def exposed_on_loop(
    place: MetricsPlace | None, measure: Callable[[Families], Awaitable[None]]
) -> AsyncIterator[str]:
    """The same for what is measured on this event loop. Raises as `exposed`."""
    loop = asyncio.get_running_loop()

    async def within_time(families: Families) -> None:
        async with asyncio.timeout(MEASURE_TIMEOUT_S):
            await measure(families)

    def ask(families: Families) -> None:
        asyncio.run_coroutine_threadsafe(within_time(families), loop).result(MEASURE_TIMEOUT_S + 1)

    with ExitStack() as stack:
        try:
            yield stack.enter_context(exposed(place, ask))
        finally:
            await asyncio.to_thread(stack.close)  # a scrape that is being answered needs the loop
