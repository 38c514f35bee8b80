"""`kvbm project`: keep a projection of the log."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.projection.projector import Projector


def project(*, into: str = "sqlite:///projection.db", once: bool = False, nats: NatsOptions | None = None) -> None:
    """Follow the log of all instances and keep its events and their state as tables, until Ctrl-C or SIGTERM.

    Killed in any way, it goes on from its last transaction when it is started again.

    Args:
        into: sqlite:///FILE, a path, or postgresql://USER@HOST/DATABASE
        once: end at the log's present end instead of waiting for more
        nats: where the log is
    """
    log_to_stderr()
    asyncio.run(_project(nats or NatsOptions(), into, once=once))


async def _project(options: NatsOptions, into: str, *, once: bool) -> None:
    log = await connect_log(options)
    try:
        until = await log.last_seq() if once else None
        running = asyncio.ensure_future(Projector(log, into).run(until))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        await log.close()
