"""`kvbm project`: keep a projection of the log, or check one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from functools import partial

from msgspec import structs

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.metrics_options import MetricsOptions
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.text import Json, write_json, write_line
from kvbm_nats.metrics import MetricsPlace, exposed_on_loop
from kvbm_nats.metrics.projector import tell_projector
from kvbm_nats.projection.projector import Projector
from kvbm_nats.projection.verify import Verification
from kvbm_nats.projection.verify import verify as verify_projection


def project(
    *,
    into: str = "sqlite:///projection.db",
    once: bool = False,
    verify: bool = False,
    json: Json = False,
    nats: NatsOptions | None = None,
    metrics: MetricsOptions | None = None,
) -> bool:
    """Follow the log of all instances and keep its events and their state as tables, until Ctrl-C or SIGTERM.

    Killed in any way, it goes on from its last transaction when it is started again.
    Exit code 0: done, and equal where it was verified. 1: the tables and the log differ.

    Args:
        into: sqlite:///FILE, a path, or postgresql://USER@HOST/DATABASE
        once: end at the log's present end instead of waiting for more
        verify: write nothing; fold the log anew and compare it with the tables, which another process may be writing
        json: what --verify found as one JSON object, for machines
        nats: where the log is
        metrics: see below
    """
    if json and not verify:
        raise InvalidCommand("--json", why="only --verify has an answer", hint="kvbm project --verify --json")
    log_to_stderr()
    options = nats or NatsOptions()
    if not verify:
        asyncio.run(_project(options, into, (metrics or MetricsOptions()).place(), once=once))
        return True
    found = asyncio.run(_verify(options, into))
    if json:
        write_json({**structs.asdict(found), "equal": found.is_equal})
    else:
        _tell(found)
    return found.is_equal


async def _project(options: NatsOptions, into: str, place: MetricsPlace | None, *, once: bool) -> None:
    log = await connect_log(options)
    try:
        await _follow(log, into, await log.last_seq() if once else None, place)
    finally:
        await log.close()


async def _follow(log: JetStreamLog, into: str, until: int | None, place: MetricsPlace | None) -> None:
    projector = Projector(log, into)
    running = asyncio.ensure_future(projector.run(until))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    async with exposed_on_loop(place, partial(tell_projector, log=log, projector=projector)):
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _verify(options: NatsOptions, into: str) -> Verification:
    log = await connect_log(options)
    try:
        return await verify_projection(into, log)
    finally:
        await log.close()


def _tell(found: Verification) -> None:
    write_line(f"{found.instances:,} instances, {found.blocks:,} blocks, up to sequence {found.seq:,}")
    write_line(f"differs: {found.difference}" if found.difference else "equal: the tables are what the log says")
