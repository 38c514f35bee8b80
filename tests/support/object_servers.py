"""Object stores to test against, each in a process of its own: our S3 double with faults, and Microsoft's Azurite."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict
from email.utils import formatdate
from pathlib import Path
from typing import Self

import pytest

from support.nats import free_port
from support.s3_faults import Fault
from support.s3_objects import Bucket

SCRIPT = Path(__file__).parents[1] / "processes" / "s3_server.py"
BUCKET = "kvblocks"
SECRET = secrets.token_hex(16)
"""What must never be seen in a log, an event or an object."""
S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test-id", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's published development key: it opens nothing."""
AZURE_CREDENTIALS = {"AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}
START_S = 60.0


class FakeS3:
    """Our own S3 server. Objects outlive it, in its folder.

    :ivar options: of every URL that names it
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.options = folder, dict[str, object]()
        (folder / BUCKET).mkdir(parents=True)
        self._port = 0
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def url(self, prefix: str = "", **options: object) -> str:
        """As a store is named on the command line."""
        more = "".join(f"&{name}={value}" for name, value in {**self.options, **options}.items())
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}{more}"

    def start(self) -> None:
        """Start it, or start it again at the same port."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self._folder), str(self._port)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdout
        self._port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """As a crash would."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    close = kill

    def set_faults(self, *faults: Fault) -> None:
        """These, and no others, go wrong from here on; what was asked until here is forgotten."""
        self._control("PUT", json.dumps([asdict(fault) for fault in faults]).encode())

    def requests(self) -> list[str]:
        """What was asked since faults were set last: `GET name`."""
        return json.loads(self._control("GET"))

    def wait_request(self, start: str) -> None:
        """Wait until a request came that begins so."""
        deadline = time.monotonic() + START_S
        while not any(request.startswith(start) for request in self.requests()):
            assert time.monotonic() < deadline, self.requests()
            time.sleep(0.005)

    @property
    def bucket(self) -> Bucket:
        """Its objects, behind its back."""
        return Bucket(self._folder / BUCKET)

    def _control(self, method: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.endpoint}/-/", data=body, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=START_S) as answer:  # noqa: S310 - loopback
            return answer.read()


class ObjectServers:
    """Servers that tests share, each started when it is first asked for; what tests keep there they name by a prefix."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[str, FakeS3 | Azurite] = {}

    def url(self, kind: str, prefix: str, **options: object) -> str:
        """Of a place in one of them: `s3` or `az`."""
        if kind not in self._servers:
            self._servers[kind] = FakeS3(self._folder / kind) if kind == "s3" else Azurite()
        return self._servers[kind].url(prefix, **options)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


class Azurite:
    """Microsoft's emulator, from npm; in memory."""

    def __init__(self) -> None:
        command = shutil.which("azurite-blob") or os.environ.get("KVBM_TEST_AZURITE", "")
        if not command:
            pytest.skip("NOT TESTED: Azure; Azurite is not installed (npm install -g azurite, or KVBM_TEST_AZURITE)")
        self._port = free_port()
        options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        self._process = subprocess.Popen(
            [command, "--blobPort", str(self._port), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait_container()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}/{AZURE_ACCOUNT}"

    def url(self, prefix: str = "", **options: object) -> str:
        """As a store is named on the command line."""
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"az://{BUCKET}/{prefix}?endpoint={self.endpoint}{more}"

    def _wait_container(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                self._make_container()
            except OSError:
                assert time.monotonic() < deadline, "Azurite does not answer"
                time.sleep(0.1)
            else:
                return

    def _make_container(self) -> None:
        """One call with a shared key: no client of ours makes containers."""
        date, version = formatdate(usegmt=True), "2021-12-02"
        named = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}\nrestype:container"
        signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n{named}"
        signature = hmac.new(base64.b64decode(AZURE_KEY), signed.encode(), hashlib.sha256).digest()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.endpoint}/{BUCKET}?restype=container",
            method="PUT",
            data=b"",
            headers={
                "x-ms-date": date,
                "x-ms-version": version,
                "Authorization": f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(signature).decode()}",
                "Content-Type": "",
            },
        )
        with urllib.request.urlopen(request, timeout=START_S):  # noqa: S310 - loopback
            pass
