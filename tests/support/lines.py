"""A command whose lines are read as they come."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

KVBM = Path(sys.executable).with_name("kvbm")
TIMEOUT_S = 60.0


class Lines:
    """See the module."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> str:
        """The next line of its output."""
        assert self._process.stdout
        line = await asyncio.wait_for(self._process.stdout.readline(), TIMEOUT_S)
        assert line, "it ended"
        return line.decode()

    async def next_json(self) -> Any:
        """The next line as the object that it is."""
        return msgspec.json.decode(await self.next())

    async def said(self, word: str) -> str:
        """The next line on stderr with this word."""
        assert self._process.stderr
        while word not in (line := (await asyncio.wait_for(self._process.stderr.readline(), TIMEOUT_S)).decode()):
            assert line, "it ended"
        return line

    async def interrupt(self) -> int:
        """Ctrl-C; its exit code."""
        self._process.send_signal(signal.SIGINT)
        await asyncio.wait_for(self._process.communicate(), TIMEOUT_S)
        assert self._process.returncode is not None
        return self._process.returncode


@asynccontextmanager
async def lines_of(*arguments: str) -> AsyncIterator[Lines]:
    """Start `kvbm ARGUMENTS…`, and kill it in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        KVBM, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Lines(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
