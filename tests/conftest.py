"""What tests of every room share: a nats-server for the session, and names that no other test uses."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_nats.nats_server import NatsServer
from support.nats import URL_ENV
from support.nixl import skip_without_nixl
from support.object_servers import AZURE_CREDENTIALS, S3_CREDENTIALS, FakeS3, ObjectServers

MAX_BYTES = 512 << 20

# Who is started in the background ignores SIGINT, and so would every command that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every machine, however busy it is.
settings.register_profile("kvbm", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kvbm")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test says that it needs is there, or it is skipped."""
    skip_without_nixl(item)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that is called here, and not as a process, says where logs go: to a stream that ends with its test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that all tests share; what they write there they name by `instance`."""
    if given := os.environ.get(URL_ENV):
        yield given
        return
    with NatsServer(tmp_path_factory.mktemp("nats") / "server") as server:
        yield server.url


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of this test's own, to kill, freeze and fill."""
    with NatsServer(tmp_path / "server", monitor=True) as server:
        yield server


@pytest.fixture
def instance() -> str:
    """An instance that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
async def jetstream_log(nats_url: str) -> AsyncIterator[JetStreamLog]:
    """A log on the shared server."""
    log = await JetStreamLog.connect(nats_url, Options(max_bytes=MAX_BYTES))
    yield log
    await log.close()


@pytest.fixture(scope="session")
def object_credentials() -> Iterator[None]:
    """What the environment has for the object stores of tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**S3_CREDENTIALS, **AZURE_CREDENTIALS}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def object_servers(
    object_credentials: None,  # noqa: ARG001 - the environment is to have them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ObjectServers]:
    """Object stores that tests share."""
    servers = ObjectServers(tmp_path_factory.mktemp("objects"))
    yield servers
    servers.close()


@pytest.fixture
def s3(object_credentials: None, tmp_path: Path) -> Iterator[FakeS3]:  # noqa: ARG001 - the environment is to have them
    """An S3 server of this test's own, to kill and to put faults into."""
    with FakeS3(tmp_path / "s3") as server:
        yield server
