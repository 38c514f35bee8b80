"""Owners as processes, to be killed, and what the log says afterwards."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from kvbm_events.codec import decode
from kvbm_events.jetstream import JetStreamLog
from kvbm_nats.replay import Verdict, verify

SCRIPT = Path(__file__).parents[1] / "processes" / "owner.py"
AHEAD = 20
"""Requests that a killed owner is in the middle of."""


class OwnerProcess:
    """An owner that plays requests `first` to `last` of a trace.

    :ivar acked: the last `(epoch, n)` that it said was acknowledged
    :ivar served: how many requests it said it had served
    """

    def __init__(self, url: str, instance: str, plan: str, trace: str, first: int, last: int) -> None:
        command = [sys.executable, str(SCRIPT), url, instance, plan, trace, str(first), str(last)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdin
        self._told, self._said = self.process.stdin, self.process.stdout
        self.acked, self.served = (0, -1), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._said.close()
        with suppress(BrokenPipeError):
            self._told.close()

    def play(self, requests: int) -> None:
        """Let it serve so many more, and wait until it has."""
        self._tell(requests)
        for _ in range(requests):
            self._note(self._said.readline())

    def kill(self) -> None:
        """Kill it in the middle of further requests, and take note of the last that it said."""
        self._tell(AHEAD)
        self._note(self._said.readline())
        self.process.kill()
        for line in self._said.read().splitlines(keepends=True):
            if line.endswith("\n") and not line.startswith("done"):
                self._note(line)
        self.process.wait()

    def finish(self) -> str:
        """Read to its end; the last line."""
        self._told.close()
        *lines, last = self._said.read().splitlines()
        self.served += len(lines)
        assert self.process.wait() == 0
        return last

    def _tell(self, requests: int) -> None:
        self._told.write("." * requests)
        self._told.flush()

    def _note(self, line: str) -> None:
        epoch, acked = line.split()
        self.acked, self.served = (int(epoch), int(acked)), self.served + 1


async def numbers_of(url: str, instance: str) -> dict[int, list[int]]:
    """The instance's events as the log has them: their `n` by epoch, in the order of the log."""
    log = await JetStreamLog.connect(url)
    numbers: dict[int, list[int]] = {}
    async for batch in log.read(instance, until=await log.last_seq(instance)):
        for entry in batch:
            event = decode(entry.data)
            numbers.setdefault(event.epoch, []).append(event.n)
    await log.close()
    return numbers


async def verdict_of(url: str, instance: str) -> Verdict:
    """What `kvbm replay --verify` would say, without a live owner."""
    log = await JetStreamLog.connect(url)
    try:
        return await verify(log, instance)
    finally:
        await log.close()
