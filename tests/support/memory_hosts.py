"""Memory hosts as processes: `kvbm memory`, the real command, to be killed, stopped and started again."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from kvbm_tiers import HostArena, preset
from kvbm_tiers.remote import LinkOptions, RemoteMemory

NAMESPACE = "m=1"
TIMEOUT_S = 60.0
ENDED = "ended"
HABITS = LinkOptions(heartbeat_s=0.1, dead_after_s=1.0, patience_s=20.0)
_numbers = itertools.count(1)

os.environ.setdefault("UCX_NET_DEVICES", "lo")  # what tests let listen, listens on loopback


class MemoryProcess:
    """A memory host, which can be started again on the same arena.

    :ivar said: the lines that it logged until now
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        capacity: int,
        layout: str = "tiny",
        namespace: str = NAMESPACE,
        lease_s: float = 1.0,
        environment: dict[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        """Nothing is started yet.

        Args:
            url: of the NATS server
            folder: where the arena lies
            environment: more of it
            before: the words before the command
        """
        self.name = f"m{os.getpid()}-{next(_numbers)}"
        self.url, self.layout, self.capacity, self.namespace = url, preset(layout), capacity, namespace
        self.path = folder / f"{self.name}.arena"
        options = {
            "--name": self.name,
            "--namespace": namespace,
            "--layout": layout,
            "--capacity": str(capacity),
            "--folder": str(folder),
            "--lease-s": str(lease_s),
            "--nats-url": url,
        }
        words = [word for option in options.items() for word in option]
        self._command = [*before, sys.executable, "-m", "kvbm_nats.cli", "memory", *words]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})}
        self._heard = Condition()
        self.said: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process
        return self._process.pid

    def start(self) -> Self:
        """Start it, and wait until it is ready."""
        before = len(self.said)
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True, env=self._environment)
        self._reader = Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self.hear("memory host ready", after=before)
        return self

    def kill(self) -> None:
        """Kill it as a crash would."""
        if self._process:
            self._process.kill()
            self._end()

    def terminate(self) -> int:
        """Ask it to end; its exit code."""
        self.signal(signal.SIGTERM)
        return self._end()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, SIGTERM."""
        os.kill(self.pid, number)

    def hear(self, word: str, *, after: int = 0) -> None:
        """Wait for a line with this word; it must come before its end."""

        def is_said() -> bool:
            return any(word in line or line == ENDED for line in self.said[after:])

        with self._heard:
            assert self._heard.wait_for(is_said, TIMEOUT_S), self.said
            assert any(word in line for line in self.said[after:]), self.said

    def open(self, *, options: LinkOptions = HABITS, **more: object) -> RemoteMemory:
        """Claim its memory, as a worker would."""
        wanted = {"namespace": self.namespace, "layout": self.layout, "capacity": self.capacity, **more}
        return RemoteMemory(self.url, self.name, options=options, **wanted)  # type: ignore[arg-type] # by name

    def look(self) -> HostArena:
        """Its arena, as this process sees it when the host has ended."""
        return HostArena(self.path, namespace=self.namespace, layout=self.layout, capacity=self.capacity)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr
        for line in process.stderr:
            with self._heard:
                self.said.append(line)
                self._heard.notify_all()
        with self._heard:
            self.said.append(ENDED)
            self._heard.notify_all()

    def _end(self) -> int:
        assert self._process
        code = self._process.wait(TIMEOUT_S)
        self._reader.join()
        assert self._process.stderr
        self._process.stderr.close()
        self._process = None
        return code
