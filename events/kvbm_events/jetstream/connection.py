"""One connection to the servers: opened within a bounded time, reconnected for ever, and watched by those who use it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError

from kvbm_events.jetstream.options import Options
from kvbm_events.schema.errors import LogUnavailable

OLDEST_SERVER = (2, 12, 1)
"""The first with message ids in atomic batches; expectations on another subject are there since 2.11."""
PENDING_BYTES = 64 << 20
"""More than all windows together, so that publishing never blocks inside the client."""
RECONNECT_WAIT_S = 0.25
PING_INTERVAL_S = 10
RETRY_PAUSE_S = 0.1

T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Refused(LogUnavailable):
    """The servers answered, and the answer is no: asking again does not help."""


class Connection:
    """A client that reconnects, and tells its watchers when it lost or found a server.

    :ivar nc: the client; publish on it only while `connected`, else the client keeps what is published and sends it
        at a time of its own choice
    """

    def __init__(self, options: Options) -> None:
        self.nc = Client()
        self.options = options
        self.closed = False
        self._is_up = asyncio.Event()
        self._watchers: set[Callable[[], None]] = set()
        self._last_error = ""
        self._was_open = False

    @classmethod
    async def open(cls, url: str, options: Options) -> Connection:
        """Connect within `options.patience_s`.

        Raises:
            LogUnavailable: nobody answers there, or not as a server of ours.
        """
        self = cls(options)
        try:
            async with asyncio.timeout(options.patience_s):
                await self._connect(url)
        except (NatsError, OSError, TimeoutError) as error:
            await self.close()
            raise LogUnavailable(
                f"no NATS server answers at {_without_password(url)}",
                why=self._last_error or str(error) or type(error).__name__,
                hint="start one (`kvbm dev`, or nats-server -js), or check the address and credentials",
            ) from error
        try:
            self._check_version()
        except LogUnavailable:
            await self.close()
            raise
        return self

    @property
    def connected(self) -> bool:
        """Whether a server is there right now, as far as this side knows."""
        return self._is_up.is_set() and self.nc.is_connected

    @property
    def server_version(self) -> tuple[int, int, int]:
        """That of the server to which it is connected."""
        version = self.nc.connected_server_version
        return version.major, version.minor, version.patch

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` whenever the connection is lost, found or closed, until the returned function is called."""
        self._watchers.add(changed)
        return lambda: self._watchers.discard(changed)

    async def persist(self, attempt: Callable[[], Awaitable[T]], patience_s: float | None = None) -> T:
        """Make the attempt until it ends with anything but `LogUnavailable`, as long as patience lasts.

        Raises:
            Refused: at once.
            LogUnavailable: the last attempt's, when patience ended.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + (self.options.patience_s if patience_s is None else patience_s)
        while True:
            try:
                await self._wait_connected(give_up_at - loop.time())
                return await attempt()
            except Refused:
                raise
            except LogUnavailable:
                if self.closed or loop.time() >= give_up_at:
                    raise
            await asyncio.sleep(RETRY_PAUSE_S)

    async def close(self) -> None:
        """Let go of the servers."""
        self.closed = True
        self._is_up.clear()
        with contextlib.suppress(NatsError, OSError):
            await self.nc.close()
        self._tell()

    def unavailable(self, why: str) -> LogUnavailable:
        """The error for something that did not work out with the servers."""
        if self.closed:
            return LogUnavailable("the log is closed", hint="connect again")
        if self._last_error and not self.connected:
            why = f"{why} (the connection is lost: {self._last_error})"
        return LogUnavailable("the log does not answer", why=why, hint="check that nats-server runs, and its log")

    async def _wait_connected(self, timeout_s: float) -> None:
        if self.connected:
            return
        if self.closed or self.nc.is_closed:
            raise self.unavailable(self._last_error or "the connection is closed")
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_up.wait()
        except TimeoutError as error:
            raise self.unavailable(f"no server came back within {self.options.patience_s:g} s") from error

    async def _connect(self, url: str) -> None:
        await self.nc.connect(
            url.split(","),
            name=self.options.name,
            error_cb=self._on_error,
            disconnected_cb=self._on_lost,
            reconnected_cb=self._on_found,
            closed_cb=self._on_lost,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type] # it is slept, so a fraction will do
            ping_interval=PING_INTERVAL_S,
            pending_size=PENDING_BYTES,
            user_credentials=self.options.credentials or None,
        )
        self._was_open = True
        self._is_up.set()

    def _check_version(self) -> None:
        if self.server_version < OLDEST_SERVER:
            raise LogUnavailable(
                f"the NATS server is version {dotted(self.server_version)}",
                why=f"the log needs {dotted(OLDEST_SERVER)}: older ones do not fence a superseded owner",
                hint="upgrade nats-server",
            )

    async def _on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if text != self._last_error:
            level = logging.WARNING if self._was_open else logging.INFO  # until then it is why `open` fails
            _logger.log(level, "NATS: %s", text)
        self._last_error = text

    async def _on_lost(self) -> None:
        self._is_up.clear()
        self._tell()

    async def _on_found(self) -> None:
        _logger.info("NATS: connected again")
        self._last_error = ""
        self._is_up.set()
        self._tell()

    def _tell(self) -> None:
        for changed in list(self._watchers):
            changed()


def dotted(version: tuple[int, int, int]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def _without_password(url: str) -> str:
    return ",".join(part.rpartition("@")[2] for part in url.split(","))
