"""`kvbm web`: the explaining commands' answers as pages."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter
from msgspec import structs

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.output import progress_to
from kvbm_nats.cli.text import write_line
from kvbm_nats.projection import Projector, open_projection
from kvbm_nats.web.options import PORT, WebOptions

if TYPE_CHECKING:
    from kvbm_nats.web.serving import WebServer

DEFAULT_URL = "nats://127.0.0.1:4222"


def web(
    *,
    projection: Annotated[str | None, Parameter(env_var="KVBM_PROJECTION")] = None,
    nats_url: Annotated[str, Parameter(env_var="KVBM_NATS_URL")] = DEFAULT_URL,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: Annotated[str, Parameter(env_var="KVBM_WEB_TOKEN", show_default=False)] = "",
    allow_host: Annotated[tuple[str, ...], Parameter(negative_iterable="")] = (),
) -> None:
    """Serve the answers of block show, request show, why-miss, state, diff and what-if as pages, until Ctrl-C or SIGTERM.

    Pages change nothing. They are for this machine only unless there is a token, which every request must then bear.

    Args:
        projection: the projection that is read: sqlite:///FILE, a path, or postgresql://…
        nats_url: whose log is followed, into a projection that goes with this command, where none is named
        host: the address to listen on; any but loopback needs a token
        port: where; 0 takes one that is free
        token: what requests must bear; better in KVBM_WEB_TOKEN, which no list of processes shows
        allow_host: a name by which a proxy asks for it; again for another
    """
    try:
        from kvbm_nats.web.serving import WebServer  # noqa: PLC0415 - its packages are an extra
    except ImportError as error:
        raise InvalidCommand(
            "no web page without its packages", why=str(error), hint="pip install 'kvbm-nats[web]'"
        ) from error
    log_to_stderr()
    log_words = () if nats_url == DEFAULT_URL else ("--nats-url", nats_url)
    options = WebOptions(
        projection=projection or "",
        source_words=("--projection", _without_password(projection)) if projection else log_words,
        log_words=log_words,
        host=host,
        port=port,
        token=token,
        allowed_hosts=allow_host,
    )
    options.check()
    asyncio.run(_serve(WebServer, options, nats_url))


async def _serve(server_type: type[WebServer], options: WebOptions, nats_url: str) -> None:
    async with _projected(options.projection, nats_url) as (url, following):
        server = server_type(structs.replace(options, projection=url))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        following.add_done_callback(lambda _done: server.stop())
        await server.run(_tell)
        if following.done():
            following.result()


def _tell(address: str) -> None:
    write_line(f"kvbm web is at {address}")
    sys.stdout.flush()


@asynccontextmanager
async def _projected(url: str, nats_url: str) -> AsyncIterator[tuple[str, asyncio.Future[None]]]:
    """What is read, and what keeps it at the end of the log: for ever, where somebody else does."""
    if url:
        async with open_projection(url) as projection:
            await projection.position()
        yield url, asyncio.get_running_loop().create_future()
        return
    log = await connect_log(NatsOptions(nats_url=nats_url))
    with TemporaryDirectory(prefix="kvbm-web-") as folder:
        url = f"{folder}/projection.db"
        following: asyncio.Future[None] | None = None
        try:
            last = (await log.info()).last_seq
            projector = Projector(log, url)
            with progress_to(last, "reading the log"):
                await projector.run(last)
            following = asyncio.ensure_future(projector.run())
            yield url, following
        finally:
            if following:
                following.cancel()
                await asyncio.wait([following])
            await log.close()


def _without_password(url: str) -> str:
    """The URL as a page may show it."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":…@", 1) if parts.password else url
