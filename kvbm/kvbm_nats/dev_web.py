"""The web page beside `kvbm dev`: a process of its own, so that no question slows the owner."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from kvbm_events.schema.errors import KvbmError
from kvbm_nats.child import dying_with_parent

NEEDED = ("jinja2", "starlette", "uvicorn")
STOP_S = 10.0


class WebEnded(KvbmError):
    """The web page's process ended by itself."""


def is_installed() -> bool:
    """Whether the extra `[web]` is there."""
    return all(find_spec(name) for name in NEEDED)


async def serve_page(projection: Path, nats_url: str, port: int, say: Callable[[str], None]) -> None:
    """Serve pages over the projection of a server's log until cancelled; `say` gets the line with their URL.

    Raises:
        WebEnded: it ended by itself; what it said is on stderr.
    """
    of_what = ("--projection", str(projection), "--nats-url", nats_url)
    command = [sys.executable, "-m", "kvbm_nats.cli", "web", *of_what, "--port", str(port)]
    process = await asyncio.create_subprocess_exec(
        *dying_with_parent(command, signal.SIGTERM),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # the terminal's ^C is for the parent, which stops it in order
    )
    try:
        if process.stdout and (line := await process.stdout.readline()):
            say(f"\n{line.decode().strip()}\n")
        code = await process.wait()
        raise WebEnded("the web page ended", why=f"exit code {code}", hint="`kvbm dev --no-web` goes without it")
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
