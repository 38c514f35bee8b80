"""`kvbm what-if` in a process of its own: it takes seconds of a processor, so one is played at a time, and none for long.

The process is the command itself, so that page and command line give one answer. Answers name their moment by its sequence,
so they never change, and are kept.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import OrderedDict

from kvbm_nats.web.problems import Problem

TIME_S = 120.0
TURN_S = 20.0
WAITING_MAX = 1
KEPT = 64


class Worlds:
    """See the module. Questions come from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self._turn, self._seats = threading.Lock(), threading.Semaphore(1 + WAITING_MAX)
        self._process: subprocess.Popen[bytes] | None = None

    def play(self, *arguments: str) -> bytes:
        """What `kvbm what-if ARGUMENTS --json` writes; this thread waits for it.

        Raises:
            Problem: it refused, took too long, or others wait.
        """
        if found := self._kept.get(arguments):
            return found
        if not self._seats.acquire(blocking=False):
            raise _busy()
        try:
            if not self._turn.acquire(timeout=TURN_S):
                raise _busy()
            try:
                return self._play(arguments)
            finally:
                self._turn.release()
        finally:
            self._seats.release()

    def _play(self, arguments: tuple[str, ...]) -> bytes:
        command = [sys.executable, "-m", "kvbm_nats.cli", "what-if", *arguments, "--json"]
        with subprocess.Popen(  # noqa: S603 - our own command; a field of the form is one word of it
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            self._process = process
            try:
                answer, said = process.communicate(timeout=TIME_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Problem(
                    503,
                    "that takes too long for a page",
                    why=f"playing these worlds took more than {TIME_S:g} s",
                    hint="ask for fewer policies and capacities, or use the command line",
                ) from None
            finally:
                self._process = None
        if process.returncode:
            raise _refusal(said.decode(errors="replace"))
        self._kept[arguments] = answer.strip()
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[arguments]

    def close(self) -> None:
        """End what is being played."""
        if process := self._process:
            process.kill()


def _busy() -> Problem:
    return Problem(503, "others ask what if", why="one question is played at a time", hint="ask again soon")


def _refusal(said: str) -> Problem:
    """What the command said of its trouble: `kvbm: what`, then why, then `Try: hint`."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    at = next((number for number, line in enumerate(lines) if line.startswith("kvbm: ")), None)
    if at is None:
        return Problem(500, "what-if failed", why=lines[-1] if lines else "it was ended", hint="run the command itself")
    what, *rest = lines[at:]
    hint = next((line.removeprefix("Try: ") for line in rest if line.startswith("Try: ")), "")
    why = next((line for line in rest if not line.startswith("Try: ")), "")
    return Problem(400, what.removeprefix("kvbm: "), why=why, hint=hint)
