"""Everything in one process: a NATS server, the service, the projection and demo traffic. What `kvbm dev` runs.

The folder keeps the log and the projection; whoever starts again in it finds the blocks of before. Everything listens
on loopback. When one part fails, all end, and its error is what is told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.jetstream import Options as LogOptions
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.dev_web import is_installed, serve_page
from kvbm_nats.explain.words import blocks, found_in_words
from kvbm_nats.metrics import Families, MetricsPlace, exposed_on_loop
from kvbm_nats.metrics.projector import tell_projector
from kvbm_nats.metrics.worker import tell_meter
from kvbm_nats.nats_server import NatsServer
from kvbm_nats.plan import parse_plan
from kvbm_nats.projection.projector import Projector
from kvbm_nats.publisher import Publisher
from kvbm_nats.service.config import InstanceConfig, ServeConfig
from kvbm_nats.service.server import Server
from kvbm_nats.traces import generate
from kvbm_nats.traces.demo import demo_workload
from kvbm_nats.traces.play import Report, play_trace
from kvbm_nats.traces.served import ServedCache
from kvbm_tiers import Meter, Stack, in_folder, preset
from kvbm_tiers.file_lock import try_lock

INSTANCE = "demo"
LAYOUT = "tiny"
NAMESPACE = f"model=demo;block_tokens=16;layout={LAYOUT}"
BANNER_AFTER = 20
"""Requests of demo traffic before the banner is shown, so that it can say what they found."""
POLL_S = 0.1
"""How often it is looked whether there is a projection to be shown."""
TOLD_EVERY_S = 10.0
"""How often the demo traffic's figures are told."""


class DevOptions(Struct, frozen=True, kw_only=True):
    """See `kvbm dev --help`."""

    folder: Path
    port: int
    tiers: str
    seed: int
    speed: float
    traffic: bool
    web: bool
    web_port: int
    seconds: float | None
    metrics: MetricsPlace | None


class Dev:
    """See the module. `say` gets each line for the user."""

    def __init__(self, options: DevOptions, say: Callable[[str], None]) -> None:
        self._options, self._say, self._metrics_url = options, say, ""
        self._projection = options.folder / "projection.db"
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Run until Ctrl-C, SIGTERM, or the given time is over.

        Raises:
            InvalidCommand: another `kvbm dev` uses the folder.
            KvbmError: a part could not start, or failed.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._over.set)
        if self._options.seconds is not None:
            loop.call_later(self._options.seconds, self._over.set)
        self._options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        port = _free_port(self._options.port)
        nats = NatsServer(self._options.folder / "nats", port=port)
        with _locked(self._options.folder), nats as server, self._open_stack() as stack:
            await self._run_parts(server.url, stack)

    async def _run_parts(self, url: str, stack: Stack) -> None:
        log_options = LogOptions(name="kvbm dev", sync_always=True)
        instance = InstanceConfig(name=INSTANCE, namespace=NAMESPACE, tiers=self._options.tiers, keep=tuple(stack.kept))
        service = Server(
            ServeConfig(url=url, instances=[instance], log=log_options), movers={INSTANCE: stack.mover}, measured=True
        )
        log = await JetStreamLog.connect(url, log_options)
        try:
            await service.start()
            projector = Projector(log, f"sqlite:///{self._projection}")

            async def measure(families: Families) -> None:
                tell_meter(families, INSTANCE, 0, stack.mover)
                await service.measure(families)
                await tell_projector(families, log, projector)

            async with exposed_on_loop(self._options.metrics, measure) as self._metrics_url:
                parts = [projector.run(), service.wait(), self._over.wait()]
                if self._options.web and is_installed():
                    parts.append(self._serve_page(projector, url))
                if self._options.traffic:
                    parts.append(self._play(url, stack.mover))
                else:
                    self._show_banner(url, None)
                await _first_of(parts)
            self._say("stopping: settling the log and writing a snapshot")
            await service.stop()
        finally:
            await log.close()

    async def _serve_page(self, projector: Projector, url: str) -> None:
        """The web page, as soon as there is something to be seen."""
        while not projector.status.seq:  # noqa: ASYNC110 - a status is there to be polled
            await asyncio.sleep(POLL_S)
        await serve_page(self._projection, url, _free_port(self._options.web_port), self._say)

    def _open_stack(self) -> Stack:
        """The memory of the tiers, beside everything else."""
        plan, media = parse_plan(self._options.tiers), in_folder(self._options.folder)
        return Stack(plan, preset(LAYOUT), NAMESPACE, media, instance=INSTANCE)

    async def _play(self, url: str, mover: Meter) -> None:
        """Demo traffic without end."""
        clock, told_s = asyncio.get_running_loop().time, 0.0

        def watch(report: Report) -> None:
            nonlocal told_s
            if report.requests == BANNER_AFTER:
                self._show_banner(url, report)
                told_s = clock()
            elif report.requests > BANNER_AFTER and clock() - told_s >= TOLD_EVERY_S:
                self._say(_traffic_line(report) + _moved_line(mover))
                told_s = clock()

        async with await Publisher.connect(url, INSTANCE) as publisher:
            requests = generate(demo_workload(self._options.seed))
            await play_trace(requests, ServedCache(publisher), speed=self._options.speed, on_request=watch)

    def _show_banner(self, url: str, report: Report | None) -> None:
        folder = self._options.folder
        self._say(f"\nkvbm dev is up: NATS at {url}, instance {INSTANCE!r}, everything in {folder}")
        if report:
            self._say(_traffic_line(report))
        self._say("\nNext, in another terminal:")
        at = "" if url.endswith(":4222") else f" --nats-url {url}"
        server = "" if url.endswith(":4222") else f" --server {url}"
        self._say(f"  nats sub 'kvbm.v1.>'{server}")
        self._say(f"  kvbm top --instance {INSTANCE}{at} --projection {folder / 'projection.db'}")
        self._say(f"  kvbm replay --verify --instance {INSTANCE}{at}")
        self._say(f"  sqlite3 {self._projection} .tables")
        self._say(f"  kvbm trace run FILE --instance trace{at}")
        self._say(f"  curl {self._metrics_url}")
        if self._options.web and not is_installed():
            self._say("  pip install 'kvbm-nats[web]'     # and the next start serves pages of all this")
        self._say("\nCtrl-C ends it; what it stored stays.\n")


def _traffic_line(report: Report) -> str:
    found = found_in_words(dict(sorted(report.found.items())))
    return f"demo traffic: {blocks(report.requests, 'request')} asked for {blocks(report.asked)}; found {found}"


def _moved_line(mover: Meter) -> str:
    return "".join(f"; {'-'.join(path)} {each.size_bytes / 1e6:.1f} MB" for path, each in sorted(mover.traffic.items()))


async def _first_of(parts: Sequence[Awaitable[object]]) -> None:
    """Run all until the first ends, then end the others; raise what ended it."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        with suppress(asyncio.CancelledError):
            task.result()


def _free_port(port: int) -> int:
    """The port if it can be listened on, else 0: the server chooses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process.

    Raises:
        InvalidCommand: another one holds it.
    """
    handle = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        if not try_lock(handle):
            raise InvalidCommand(
                f"{folder} is in use", why="another kvbm dev runs in it", hint="end it, or give --folder another one"
            )
        yield
    finally:
        os.close(handle)
