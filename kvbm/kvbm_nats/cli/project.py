"""`kvbm project`: keep a projection of the log, or check one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from functools import partial

from kvbm_events.jetstream import JetStreamLog
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.metrics_options import MetricsOptions
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.text import write_line
from kvbm_nats.metrics import MetricsPlace, exposed_on_loop
from kvbm_nats.metrics.projector import tell_projector
from kvbm_nats.projection.projector import Projector
from kvbm_nats.projection.verify import verify as verify_projection


def project(
    *,
    into: str = "sqlite:///projection.db",
    once: bool = False,
    verify: bool = False,
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
        nats: where the log is
        metrics: see below
    """
    log_to_stderr()
    place = (metrics or MetricsOptions()).place()
    return asyncio.run(_project(nats or NatsOptions(), into, place, once=once, verify=verify))


async def _project(options: NatsOptions, into: str, place: MetricsPlace | None, *, once: bool, verify: bool) -> bool:
    log = await connect_log(options)
    try:
        if verify:
            return await _verify(log, into)
        await _follow(log, into, await log.last_seq() if once else None, place)
        return True
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


async def _verify(log: JetStreamLog, into: str) -> bool:
    found = await verify_projection(into, log)
    write_line(f"{found.instances:,} instances, {found.blocks:,} blocks, up to sequence {found.seq:,}")
    write_line(f"differs: {found.difference}" if found.difference else "equal: the tables are what the log says")
    return found.is_equal
