"""Scripts of `tests/processes/`, started as processes that are told what to do by lines, and that say what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

FOLDER = Path(__file__).parents[1] / "processes"


class ScriptProcess:
    """One such process; it is killed at the end.

    :ivar heard: what it said until now
    """

    def __init__(self, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(FOLDER / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self._process.stdin
        assert self._process.stdout
        self._told, self._said = self._process.stdin, self._process.stdout
        self.heard: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()
        self._said.close()
        with suppress(BrokenPipeError):
            self._told.close()

    def hear(self, word: str) -> Self:
        """Read what it says up to a line that begins with the word."""
        while line := self._said.readline():
            self.heard.append(line.strip())
            if line.startswith(word):
                return self
        raise AssertionError(f"it ended without saying {word!r}: {self.heard}")

    def go_on(self) -> None:
        """Let it take the step that it waits at."""
        self._told.write("\n")
        self._told.flush()

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._process.kill()
        self._process.wait()

    def killed(self) -> None:
        """Wait until it has been killed, by whomever."""
        assert self._process.wait(60) == -signal.SIGKILL, self.heard

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, SIGTERM. Who is stopped has stopped afterwards, with all threads."""
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)
