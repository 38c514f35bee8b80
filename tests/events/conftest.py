"""The logs that the contract suites run over: in memory, and in JetStream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_events.log import Log
from kvbm_events.memory import MemoryLog
from kvbm_nats.nats_server import NatsServer
from support.samples import SMALL_LOG_BYTES


@pytest.fixture(params=["memory", "jetstream"])
async def log(request: pytest.FixtureRequest, nats_url: str) -> AsyncIterator[Log]:
    log: Log = MemoryLog() if request.param == "memory" else await JetStreamLog.connect(nats_url)
    yield log
    await log.close()


@pytest.fixture(params=["memory", "jetstream"])
async def small_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    """A log that is full after 64 KiB."""
    if request.param == "memory":
        yield MemoryLog(bytes_max=SMALL_LOG_BYTES)
        return
    with NatsServer(tmp_path / "server") as server:
        log = await JetStreamLog.connect(server.url, Options(max_bytes=SMALL_LOG_BYTES))
        yield log
        await log.close()
