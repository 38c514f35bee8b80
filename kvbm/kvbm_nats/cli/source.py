"""What the explaining commands read: a projection that is kept, or one made of the log for this one question."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_events.subjects import check_instance
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.output import progress_to
from kvbm_nats.projection import Projection, Projector, open_projection
from kvbm_nats.replay.moment import parse_moment

LONG = 100_000
"""Events of a log from which on it is said that a projection would be quicker."""
PROGRESS_EVERY_S = 0.1


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Take it as a keyword argument, `source: SourceOptions | None = None`, and use `source or SourceOptions()`."""

    projection: Annotated[
        str | None,
        Parameter(env_var="KVBM_PROJECTION", help="Projection to read: sqlite:///FILE, a path, or postgresql://…"),
    ] = None
    nats_url: Annotated[
        str, Parameter(env_var="KVBM_NATS_URL", help="Server whose log is read where no projection is named.")
    ] = "nats://127.0.0.1:4222"
    instance: Annotated[
        str | None, Parameter(env_var="KVBM_INSTANCE", help="Only this model replica; all if left out.")
    ] = None

    def __post_init__(self) -> None:
        """Refuse what cannot name an instance. Raises InvalidCommand."""
        if self.instance:
            check_instance(self.instance)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MomentOptions(SourceOptions):
    """The same, and the moment that is asked about."""

    at: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            help="As of a log sequence, a time (2026-11-24T12:04:31, 12:04:31) or ago (-30s, -2h).",
        ),
    ] = None


@asynccontextmanager
async def opened(options: SourceOptions) -> AsyncIterator[Projection]:
    """The projection that the options name; or one in a temporary folder, made of the log up to its present end.

    All that is read of it is of one moment.
    """
    log_to_stderr()
    with TemporaryDirectory(prefix="kvbm-explain-") if not options.projection else nullcontext() as folder:
        url = options.projection or f"{folder}/projection.db"
        if folder:
            await _project(options, url)
        async with open_projection(url) as projection, projection.one_moment():
            yield projection


async def _project(options: SourceOptions, url: str) -> None:
    log = await connect_log(NatsOptions(nats_url=options.nats_url))
    try:
        last = (await log.info()).last_seq
        if not last:
            raise InvalidCommand(f"the log at {options.nats_url} is empty", hint="name a projection with --projection")
        if last > LONG:
            sys.stderr.write(f"reading {last:,} events for this question; with --projection it is answered at once\n")
        projector = Projector(log, url)
        running = asyncio.ensure_future(projector.run(last))
        with progress_to(last, "reading the log") as advance:
            while not running.done():
                await asyncio.wait([running], timeout=PROGRESS_EVERY_S)
                advance(projector.status.seq)
        running.result()
    finally:
        await log.close()


async def seq_of(projection: Projection, at: str | None) -> int:
    """The sequence of a moment as people say it; the projection's last where it is left out.

    Raises:
        InvalidCommand: it is no moment, or lies after all that the projection has.
    """
    last = (await projection.position()).seq
    if not at:
        return last
    moment = parse_moment(at, datetime.now().astimezone())
    if moment.at_us is not None:
        return await projection.seq_at(moment.at_us)
    if (moment.seq or 0) > last:
        raise InvalidCommand(
            f"nothing is known of sequence {moment.seq:,}",
            why=f"the projection ends at {last:,}",
            hint="wait for the projector, or leave --at out",
        )
    return moment.seq or 0
