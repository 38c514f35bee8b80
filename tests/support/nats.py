"""Servers for tests, and the faults that are injected into them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from kvbm_events.jetstream.publisher import JetStreamWriter
from kvbm_nats.nats_server import NatsServer, find_nats_server

URL_ENV = "KVBM_TEST_NATS_URL"
"""A server to run the tests against, instead of one of their own. The log on it grows."""


@contextmanager
def frozen(server: NatsServer) -> Iterator[None]:
    """The server neither answers nor goes away."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)  # with all its threads
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Cluster:
    """Three servers that share the log.

    :ivar url: all of them
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [free_port() for _ in range(6)]
        self.url = ",".join(f"nats://127.0.0.1:{port}" for port in self._ports[:3])
        self._processes = [self._start(number) for number in range(3)]

    def kill(self, name: str) -> None:
        """Kill the server of this name: `s0`, `s1` or `s2`."""
        process = self._processes[int(name[1:])]
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self._ports[3:])
        config = self._folder / f"s{number}.conf"
        config.write_text(f"""
            server_name: s{number}
            listen: "127.0.0.1:{self._ports[number]}"
            jetstream {{ store_dir: "{self._folder}/s{number}", sync_interval: always }}
            cluster {{ name: kvbm, listen: "127.0.0.1:{self._ports[3 + number]}", routes: [{routes}] }}
        """)
        with (self._folder / f"s{number}.log").open("wb") as log:
            return subprocess.Popen([find_nats_server(), "-c", str(config)], stdout=log, stderr=log)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def lose_acks(monkeypatch: pytest.MonkeyPatch, is_lost: Callable[[Msg], bool]) -> None:
    """Writers that are opened from now on do not get these acknowledgements."""
    deliver = JetStreamWriter._on_ack

    async def on_ack(self: JetStreamWriter, msg: Msg) -> None:
        if not is_lost(msg):
            await deliver(self, msg)

    monkeypatch.setattr(JetStreamWriter, "_on_ack", on_ack)


def wait_for_exit(pid: int, timeout_s: float = 10.0) -> bool:
    """Whether the process, child or not, is gone within the time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout_s)[0])
    finally:
        os.close(handle)
