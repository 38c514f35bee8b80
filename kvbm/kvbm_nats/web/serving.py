"""Serving the application until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.web.app import make_app
from kvbm_nats.web.options import WebOptions

GRACE_S = 3
"""For answers that are under way when it ends."""


class _Server(uvicorn.Server):
    """Signals are the caller's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class WebServer:
    """One server; `stop` may be called from a signal handler of its loop."""

    def __init__(self, options: WebOptions) -> None:
        options.check()
        self._options = options
        self._closing = asyncio.Event()
        config = uvicorn.Config(
            make_app(options, self._closing),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            lifespan="on",
        )
        self._server = _Server(config)

    async def run(self, on_listening: Callable[[str], None]) -> None:
        """Serve until stopped. `on_listening` is told the URL when it can be opened.

        Raises:
            InvalidCommand: the address is in use, or is not this machine's.
        """
        with _bound(self._options.host, self._options.port) as listener:
            on_listening(_url(listener))
            await self._server.serve(sockets=[listener])

    def stop(self) -> None:
        """End it: open streams first, then what is being answered."""
        self._closing.set()
        self._server.should_exit = True


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.create_server(address[:2], family=family, reuse_port=False) if kind else None
    except OSError as error:
        raise InvalidCommand(
            f"cannot listen on {host}:{port}",
            why=error.strerror or str(error),
            hint="--port takes another one; 0 any that is free",
        ) from error
    if listener is None:
        raise InvalidCommand(f"cannot listen on {host}:{port}", why="it is no address of TCP")
    with listener:
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
