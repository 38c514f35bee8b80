"""Two network namespaces with a cable between them, as two hosts have: what goes from one to the other goes through it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

ADDRESSES = "10.213.77.1", "10.213.77.2"


class TwoHosts:
    """See the module. Needs root, and ends with its namespaces.

    :ivar devices: the ends of the cable
    """

    def __init__(self) -> None:
        ip = shutil.which("ip")
        if os.geteuid() or not ip:
            pytest.skip("NOT TESTED: UCX over a network; network namespaces take root and `ip`")
        self._ip = ip
        self.names = [f"kvbm{os.getpid()}{side}" for side in "ab"]
        self.devices = [f"kv{os.getpid() % 10**7}{side}" for side in "ab"]

    def __enter__(self) -> Self:
        made = subprocess.run([self._ip, "netns", "add", self.names[0]], check=False, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"NOT TESTED: UCX over a network; no network namespace: {made.stderr.strip()}")
        self._run("netns", "add", self.names[1])
        self._run("link", "add", self.devices[0], "type", "veth", "peer", "name", self.devices[1])
        for name, device, address in zip(self.names, self.devices, ADDRESSES, strict=True):
            self._run("link", "set", device, "netns", name)
            self._run("-n", name, "address", "add", f"{address}/30", "dev", device)
            self._run("-n", name, "link", "set", device, "up")
            self._run("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for name in self.names:
            subprocess.run([self._ip, "netns", "delete", name], check=False, capture_output=True)

    def at(self, side: int) -> list[str]:
        """What to put before a command that is to run at this side."""
        return [self._ip, "netns", "exec", self.names[side]]

    def environment(self, side: int) -> dict[str, str]:
        """UCX over the cable and nothing else: on one kernel it would copy from process to process."""
        return {"UCX_TLS": "tcp", "UCX_NET_DEVICES": self.devices[side]}

    def received(self, side: int) -> int:
        """Bytes that came through the cable to this side."""
        path = f"/sys/class/net/{self.devices[side]}/statistics/rx_bytes"
        return int(subprocess.run([*self.at(side), "cat", path], check=True, capture_output=True, text=True).stdout)

    def _run(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True, capture_output=True)


@contextmanager
def nats_at(hosts: TwoHosts, binary: str, folder: Path) -> Iterator[str]:
    """A nats-server at the first side, which the other one can reach and nobody else; its URL."""
    port = 4222
    server = subprocess.Popen(
        [*hosts.at(0), binary, "-a", ADDRESSES[0], "-p", str(port), "--js", "--store_dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"nats://{ADDRESSES[0]}:{port}"
    finally:
        server.kill()
        server.wait()
