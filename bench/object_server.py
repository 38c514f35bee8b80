"""The tests' S3 server for a benchmark: in a process of its own, with objects in shared memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Self

BUCKET = "bench"
_TESTS = Path(__file__).parents[1] / "tests"


class ObjectServer:
    """See the module. It asks for no credentials; clients want some all the same."""

    def __init__(self, folder: Path) -> None:
        (folder / BUCKET).mkdir(parents=True)
        credentials = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
        for name, value in credentials.items():
            os.environ.setdefault(name, value)
        self._process = subprocess.Popen(
            [sys.executable, str(_TESTS / "processes" / "s3_server.py"), str(folder), "0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_TESTS)},
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def url(self, via: str) -> str:
        """As a store is named."""
        return f"s3://{BUCKET}/blocks?endpoint=http://127.0.0.1:{self.port}&via={via}"

    def set_latency(self, latency_s: float) -> None:
        """Let every answer wait so long."""
        faults = [{"kind": "slow", "value": latency_s}] if latency_s else []
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/-/", data=json.dumps(faults).encode(), method="PUT"
        )
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - loopback
            pass
