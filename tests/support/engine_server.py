"""A real vLLM OpenAI server, as users start it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.engines import PYTHON_ENV

START_TIMEOUT_S = 300.0
TIMEOUT_S = 120.0


class EngineServer:
    """See the module; it ends with the block."""

    def __init__(self, model: Path, log: Path, *arguments: str) -> None:
        self.port = free_port()
        self._log = log
        command = [os.environ[PYTHON_ENV], "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
        command += [
            "--served-model-name",
            "tiny",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dtype",
            "bfloat16",
        ]
        command += ["--enforce-eager", "--max-model-len", "2048", "--block-size", "32", *arguments]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        environment |= {"VLLM_SERVER_DEV_MODE": "1", "VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES": "0"}
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._wait_healthy()

    def chat(self, messages: list[dict[str, str]], **more: Any) -> dict[str, Any]:
        """One answer, with what it cost."""
        body = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 16, "ignore_eos": True}
        answer: dict[str, Any] = json.loads(self.ask("/v1/chat/completions", body | more))
        return answer

    def reset(self) -> None:
        """Empty vLLM's own cache. It refuses while blocks are held, as those that are being copied are."""
        self.ask("/reset_prefix_cache", {})

    def metrics(self) -> dict[str, float]:
        """Prometheus' numbers by name and labels."""
        lines = [
            line.rpartition(" ") for line in self.ask("/metrics").decode().splitlines() if not line.startswith("#")
        ]
        return {name: float(value) for name, _, value in lines}

    def ask(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the same
            said: bytes = answer.read()
            return said

    def _wait_healthy(self) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.ask("/health")
            except (urllib.error.URLError, OSError):
                if self._process.poll() is not None or time.monotonic() > end:
                    self.close()
                    raise AssertionError(self._log.read_text()[-4000:]) from None
                time.sleep(0.2)
            else:
                return

    def close(self) -> None:
        """End it and its processes, and wait for them."""
        for number, patience_s in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 20.0)):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                try:
                    self._process.wait(patience_s)
                except subprocess.TimeoutExpired:
                    continue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
