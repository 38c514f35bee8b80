"""Connecting: the stream is set up, kept up to date, and its weaknesses are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client, ServerVersion

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_events.jetstream.api import StreamInfo
from kvbm_events.jetstream.options import DEFAULT_MAX_BYTES, STREAM
from kvbm_events.jetstream.stream import VERSION, VERSION_KEY
from kvbm_events.schema.errors import LogFull, LogUnavailable
from kvbm_nats.nats_server import NatsServer
from support.samples import append_and_settle, opened, registered


@asynccontextmanager
async def connected(server: NatsServer, **options) -> AsyncIterator[JetStreamLog]:
    log = await JetStreamLog.connect(server.url, Options(**options))
    try:
        yield log
    finally:
        await log.close()


async def config_of(log: JetStreamLog) -> dict:
    return (await log._api.stream_info(STREAM)).config


async def configure(log: JetStreamLog, **settings) -> None:
    await log._api.call(f"STREAM.UPDATE.{STREAM}", await config_of(log) | settings, StreamInfo)


async def test_a_stream_is_created_as_the_log_needs_it(nats_server: NatsServer):
    async with connected(nats_server) as log:
        config = await config_of(log)
    expected = {
        "subjects": ["kvbm.v1.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_bytes": DEFAULT_MAX_BYTES,
        "duplicate_window": 300 * 10**9,
        "allow_direct": True,
        "allow_atomic": True,
        "deny_delete": True,
        "num_replicas": 1,
    }
    assert {name: config.get(name) for name in expected} == expected
    assert config["metadata"][VERSION_KEY] == str(VERSION)


async def test_an_older_stream_is_updated_and_keeps_its_operators_settings(nats_server: NatsServer):
    async with connected(nats_server) as log:
        metadata = {VERSION_KEY: "0", "team": "serving"}
        await configure(log, metadata=metadata, allow_direct=False, max_bytes=1 << 20, max_msg_size=1 << 19)
    async with connected(nats_server) as log:
        config = await config_of(log)
    assert config["allow_direct"]
    assert (config["max_bytes"], config["max_msg_size"]) == (1 << 20, 1 << 19)
    assert (config["metadata"][VERSION_KEY], config["metadata"]["team"]) == (str(VERSION), "serving")


async def test_a_newer_stream_is_left_alone_and_told(nats_server: NatsServer):
    async with connected(nats_server) as log:
        await configure(log, metadata={VERSION_KEY: "99"}, allow_direct=False)
    async with connected(nats_server) as log:
        assert not (await config_of(log)).get("allow_direct")
        assert "newer version (99" in (await log.info()).warning


async def test_options_change_the_stream_and_no_options_leave_it(nats_server: NatsServer):
    async with connected(nats_server, max_bytes=1 << 20, max_age_s=60.0):
        pass
    async with connected(nats_server) as log:
        config = await config_of(log)
        assert (config["max_bytes"], config["max_age"]) == (1 << 20, 60 * 10**9)
        assert config["duplicate_window"] == 60 * 10**9
    async with connected(nats_server, max_bytes=2 << 20) as log:
        assert (await log.info()).bytes_max == 2 << 20


@pytest.mark.parametrize(
    ("sync_interval", "options", "durable", "warning"),
    [
        ("always", {"monitor": True}, True, ""),
        ("always", {"sync_always": True}, True, ""),
        ("always", {}, False, "nobody said whether"),
        ("1s", {"monitor": True}, False, "does not run with sync_interval: always"),
        ("1s", {"sync_always": False}, False, "does not run with sync_interval: always"),
    ],
)
async def test_durability_is_told_as_far_as_it_is_known(tmp_path, sync_interval, options, durable, warning):
    with NatsServer(tmp_path / "server", monitor=True, sync_interval=sync_interval) as server:
        if options.pop("monitor", False):
            options = {"monitor_url": server.monitor_url}
        async with connected(server, **options) as log:
            info = await log.info()
    assert info.durable is durable
    assert warning in info.warning
    assert bool(info.warning) is bool(warning)


async def test_a_log_that_is_nearly_full_warns(nats_server: NatsServer, instance: str):
    async with connected(nats_server, max_bytes=125 << 10, sync_always=True) as log:
        writer = await log.open_writer(instance, opened(1), 0)
        await append_and_settle(writer, [registered(1, n, 512) for n in range(1, 4)])
        assert not (await log.info()).warning
        await append_and_settle(writer, [registered(1, n, 512) for n in range(4, 8)])
        assert "% full: trim" in (await log.info()).warning


async def test_nobody_there(nats_server: NatsServer):
    nats_server.kill()
    with pytest.raises(LogUnavailable, match="no NATS server answers at") as error:
        await JetStreamLog.connect(nats_server.url.replace("//", "//user:secret@"), Options(patience_s=0.5))
    assert "secret" not in str(error.value)


async def test_a_server_that_is_too_old(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Client, "connected_server_version", ServerVersion("2.11.4"))
    with pytest.raises(LogUnavailable, match=r"version 2\.11\.4.*the log needs 2\.12\.1"):
        await JetStreamLog.connect(nats_server.url)


async def test_a_limit_that_the_server_has_no_room_for(nats_server: NatsServer):
    with pytest.raises(LogFull, match="insufficient storage"):
        await JetStreamLog.connect(nats_server.url, Options(max_bytes=1 << 60, patience_s=0.5))


async def test_subjects_that_another_stream_holds(nats_server: NatsServer):
    """The answer is final, so nobody waits for the patience to end."""
    async with connected(nats_server) as log:
        await log._connection.nc.request(f"$JS.API.STREAM.DELETE.{STREAM}", b"")
        await log._api.call("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["kvbm.>"]}, StreamInfo)
    with pytest.raises(LogUnavailable, match="overlap"):
        await JetStreamLog.connect(nats_server.url, Options(patience_s=3600.0))


async def test_a_monitor_that_does_not_answer(nats_server: NatsServer):
    with pytest.raises(LogUnavailable, match="monitor"):
        await JetStreamLog.connect(nats_server.url, Options(monitor_url="http://127.0.0.1:9"))


async def test_a_stream_that_was_deleted(nats_server: NatsServer):
    async with connected(nats_server) as log:
        await log._connection.nc.request(f"$JS.API.STREAM.DELETE.{STREAM}", b"")
        with pytest.raises(LogUnavailable, match="there is no stream"):
            await log.info()
        assert await log.last_seq() == 0
