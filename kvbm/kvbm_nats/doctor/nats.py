"""Checks of the NATS server: its version and answers, the stream of events and its limits, and whether it syncs."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from statistics import median

from msgspec import Struct

from kvbm_events.jetstream import Options
from kvbm_events.jetstream.api import Answer, Api, StreamInfo
from kvbm_events.jetstream.connection import Connection, dotted
from kvbm_events.jetstream.options import STREAM
from kvbm_events.jetstream.stream import SYNC_UNKNOWN, describe, is_sync_always
from kvbm_nats.doctor.finding import Finding, State

PATIENCE_S = 5.0
PAYLOAD_MIN_BYTES = 1 << 20
"""Of 512 blocks with keys, an event has some 20 KB; a batch or a snapshot's chunk is larger, up to this."""
ROUNDS = 9
SLOW_MS = 20.0
CLOCK_DIFFERENCE_MAX_S = 1.0
_HINT_SYNC = "run it with sync_interval: always, and give --monitor-url so that this can be seen"


class _Limits(Struct, frozen=True):
    max_storage: int = -1


class _Account(Answer, frozen=True, kw_only=True):
    storage: int = 0
    limits: _Limits = _Limits()


def check_jetstream(url: str, monitor_url: str = "") -> list[Finding]:
    """Ask, and change nothing.

    Raises:
        LogUnavailable: nobody answers, JetStream is not enabled, or the server is too old.
    """
    return asyncio.run(_check(url, Options(name="kvbm doctor", patience_s=PATIENCE_S, monitor_url=monitor_url)))


async def _check(url: str, options: Options) -> list[Finding]:
    connection = await Connection.open(url, options)
    try:
        api = Api(connection)
        account = await api.call("INFO", None, _Account)
        findings = [_server(connection, account, [await _round_ms(api) for _ in range(ROUNDS)])]
        stream = await api.stream_info(STREAM)
        findings.append(await _stream(stream, options))
        if stream and stream.ts:
            findings.append(_clock(stream.ts))
        return findings
    finally:
        await connection.close()


async def _round_ms(api: Api) -> float:
    started = time.perf_counter()
    await api.call("INFO", None, _Account)
    return (time.perf_counter() - started) * 1e3


def _server(connection: Connection, account: _Account, rounds_ms: list[float]) -> Finding:
    took_ms, limit = median(rounds_ms), account.limits.max_storage
    room = f", {account.storage / 2**30:.1f} of {limit / 2**30:.1f} GiB used" if limit > 0 else ""
    payload = connection.nc.max_payload
    what = (
        f"nats-server {dotted(connection.server_version)}, {took_ms:.1f} ms an answer, "
        f"max_payload {payload / 2**20:g} MiB{room}"
    )
    if payload < PAYLOAD_MIN_BYTES:
        hint = f"set max_payload to {PAYLOAD_MIN_BYTES} or more: large events would be refused"
        return Finding(name="jetstream", state="broken", what=what, hint=hint)
    if took_ms > SLOW_MS:
        hint = "every transfer waits for it: put it nearer, or see what its disk does"
        return Finding(name="jetstream", state="poor", what=what, hint=hint)
    return Finding(name="jetstream", state="ok", what=what)


async def _stream(stream: StreamInfo | None, options: Options) -> Finding:
    sync_always = await is_sync_always(options)
    if stream is None:
        what = "there is none yet: the first owner makes it"
        hint = "" if sync_always else f"before that, {_HINT_SYNC}"
        return Finding(name="log", state="ok" if sync_always else "note", what=what, hint=hint)
    info = describe(stream, sync_always=sync_always)
    limit = f"of {info.bytes_max / 2**30:.1f} GiB" if info.bytes_max else "without a limit"
    what = f"{stream.state.messages:,} events, {info.size_bytes / 2**30:.2f} {limit}"
    if not info.warning:
        return Finding(name="log", state="ok", what=f"{what}, synced before it is acknowledged")
    state: State = "note" if info.warning == SYNC_UNKNOWN else "poor"
    return Finding(name="log", state=state, what=f"{what}; {info.warning}", hint=_HINT_SYNC)


def _clock(ts: str) -> Finding:
    there = datetime.fromisoformat(ts).timestamp()
    difference_s = abs(datetime.now(UTC).timestamp() - there)
    what = f"the server's differs from this machine's by {difference_s:.3f} s or less"
    if difference_s > CLOCK_DIFFERENCE_MAX_S:
        return Finding(name="server clock", state="poor", what=what, hint="synchronise both with NTP")
    return Finding(name="server clock", state="ok", what=what)
