"""The service: a connection, the instances that it hosts, and its end.

server = Server(config)
await server.start()
await server.wait()
await server.stop()
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import version

import structlog
from msgspec import structs
from nats.aio.msg import Msg

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.jetstream.connection import Connection
from kvbm_nats.metrics import Families, MetricsPlace, exposed_on_loop
from kvbm_nats.service.config import InstanceConfig, ServeConfig
from kvbm_nats.service.host import InstanceHost, LogSource
from kvbm_nats.service.messages import SERVICE, claimed_subject
from kvbm_nats.service.micro import Endpoint, MicroService
from kvbm_nats.workers import WorkerMover, WorkerOptions
from kvbm_tiers import Mover

PATIENCE_S = 10.0
"""How long to try for a first connection."""
DESCRIPTION = "KV-cache block manager: see docs/service.md"

_logger = structlog.get_logger(__name__)


class _Hosted:
    """An instance with its endpoints."""

    def __init__(self, host: InstanceHost) -> None:
        self.host = host
        self.epoch = 0
        self.endpoints: list[Endpoint] = []


class Server:
    """See the module."""

    def __init__(
        self,
        config: ServeConfig,
        log: LogSource | None = None,
        *,
        movers: Mapping[str, Mover] | None = None,
        measured: bool = False,
    ) -> None:
        """Nothing is started yet.

        Args:
            config: what to host
            log: of all instances; JetStream at the configuration's URL by default
            movers: by instance, what copies its blocks; its tier workers by default, or memory where it has none
            measured: whether somebody is going to `measure`
        """
        self._config, self._movers, self._measured = config.check(), movers or {}, measured
        self._log = log or partial(JetStreamLog.connect, config.url, config.log)
        self._hosted: dict[str, _Hosted] = {}
        self._is_over = asyncio.Event()
        self._trouble: Exception | None = None
        self._dropping: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Claim every instance and answer for it.

        Raises:
            LogUnavailable: no NATS server answers.
            KvbmError: an instance cannot be opened; then none is.
        """
        options = structs.replace(self._config.log, name="kvbm serve", patience_s=PATIENCE_S)
        self._connection = await Connection.open(self._config.url, options)
        self._micro = MicroService(self._connection.nc, SERVICE, version("kvbm-nats"), DESCRIPTION)
        try:
            await self._claim_all()
            await self._micro.start()
            for hosted in list(self._hosted.values()):
                hosted.endpoints = await self._micro.add(hosted.host.endpoints())
        except BaseException:
            with suppress(Exception):  # why it did not start is told, not what came of that
                await self.stop()
            raise
        _logger.info("service started", service=self._micro.id, instances=list(self._hosted), url=self._config.url)

    async def wait(self) -> None:
        """Wait until a stop is asked for, or no instance is left."""
        await self._is_over.wait()

    async def measure(self, families: Families) -> None:
        """Tell Prometheus of every instance. Raises what keeps one from answering, when the others have."""
        hosts = [hosted.host for hosted in self._hosted.values() if hosted.epoch]
        for outcome in await asyncio.gather(*(host.measure(families) for host in hosts), return_exceptions=True):
            if outcome:
                raise outcome

    def ask_to_stop(self) -> None:
        """Let `wait` return."""
        self._is_over.set()

    async def stop(self) -> None:
        """Answer what was asked, write snapshots, let go of the instances.

        Raises:
            KvbmError: no instance was left, and this is why the last one was lost; or one could not be closed well.
        """
        await self._micro.stop()
        for task in list(self._dropping):
            await task
        hosts, self._hosted = [hosted.host for hosted in self._hosted.values()], {}
        for outcome in await asyncio.gather(*(host.close() for host in hosts), return_exceptions=True):
            if isinstance(outcome, Exception):
                self._trouble = outcome
                _logger.error("an instance was not closed well", why=str(outcome))
        await self._connection.close()
        _logger.info("service stopped", service=self._micro.id)
        if self._trouble:
            raise self._trouble

    async def _claim_all(self) -> None:
        """Open all; raise what the first of those raised that cannot be opened."""
        claims = [self._claim(instance) for instance in self._config.instances]
        for outcome in await asyncio.gather(*claims, return_exceptions=True):
            if outcome:
                raise outcome

    async def _claim(self, config: InstanceConfig) -> None:
        """Open one instance, and tell whoever had it before."""
        host = InstanceHost(
            config,
            self._log,
            lease_s=self._config.lease_s,
            on_failed=self._drop_soon,
            is_reachable=lambda: self._connection.connected,
            mover=self._mover_of(config),
            measured=self._measured,
        )
        self._hosted[config.name] = hosted = _Hosted(host)
        try:
            hosted.epoch = await host.opened()
        except BaseException:
            del self._hosted[config.name]
            raise
        subject = claimed_subject(config.name)
        await self._connection.nc.subscribe(subject, cb=partial(self._on_claimed, hosted))
        await self._connection.nc.publish(subject, str(hosted.epoch).encode())

    def _mover_of(self, config: InstanceConfig) -> Callable[[], Mover] | None:
        if given := self._movers.get(config.name):
            return lambda: given
        return partial(self._hire, config) if config.workers else None

    def _hire(self, config: InstanceConfig) -> WorkerMover:
        """Tier workers as the mover of an instance."""
        connection = structs.replace(self._config.log, name="kvbm serve: reports", patience_s=PATIENCE_S)
        options = WorkerOptions(dead_after_s=config.dead_after_s, connection=connection)
        url, ranks = self._config.url, config.workers
        return WorkerMover.connect(url, config.name, namespace=config.namespace, ranks=ranks, options=options)

    async def _on_claimed(self, hosted: _Hosted, message: Msg) -> None:
        if message.data.isdigit() and int(message.data) > hosted.epoch:
            hosted.host.fence(int(message.data))

    def _drop_soon(self, host: InstanceHost, error: Exception) -> None:
        task = asyncio.create_task(self._drop(host, error))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    async def _drop(self, host: InstanceHost, error: Exception) -> None:
        """Stop hosting an instance that was lost."""
        hosted = self._hosted.pop(host.instance, None)
        if hosted is None:
            return
        _logger.error("instance lost", instance=host.instance, error=type(error).__name__, why=str(error))
        await self._micro.remove(hosted.endpoints)
        with suppress(Exception):  # why it was lost is told, not what came of that
            await host.close()
        if not self._hosted:
            self._trouble = error
            self._is_over.set()


async def serve(config: ServeConfig, metrics: MetricsPlace | None = None) -> None:
    """Host the instances until SIGTERM or SIGINT, and tell Prometheus of them where there is a place for that.

    Raises:
        KvbmError: the service could not be started, or it ended for another reason; `Fenced` for one.
    """
    server = Server(config, measured=metrics is not None)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.ask_to_stop)
    try:
        async with exposed_on_loop(metrics, server.measure):
            await server.start()
            await server.wait()
            await server.stop()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
