"""The stream `KVBM`: its configuration, created or brought up to date, and what an operator should know about it.

Rules
1. `max_bytes` with `discard: new`: a full log refuses, it never forgets.
2. `deny_delete`: no single event can be taken out. Trimming is a purge of a prefix, up to a snapshot.
3. The stream's metadata carry the version of these settings. A stream of an older version is updated; one of a newer
   version, and whatever its operator set that is not named here, is left alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from typing import Any

from kvbm_events.jetstream.api import Api, StreamInfo
from kvbm_events.jetstream.options import DEFAULT_MAX_BYTES, STREAM, Options
from kvbm_events.log import LogInfo
from kvbm_events.schema.errors import LogUnavailable
from kvbm_events.subjects import EVERYTHING

VERSION = 1
VERSION_KEY = "kvbm_version"
DUPLICATE_WINDOW_S = 300.0
NEARLY_FULL = 0.9
SYNC_UNKNOWN = (
    "nobody said whether the server runs with sync_interval: always; without it a power cut loses acknowledged events"
)
_MONITOR_TIMEOUT_S = 2.0
_S = 1_000_000_000

_logger = logging.getLogger(__name__)


async def ensure_stream(api: Api, options: Options) -> StreamInfo:
    """Create the stream, or update it where it is older than this program or the options say otherwise.

    Raises:
        LogUnavailable, LogFull: JetStream does not answer, or refuses.
    """
    info = await api.stream_info(STREAM)
    if info is None:
        created = {"name": STREAM, "storage": "file", "retention": "limits", "max_bytes": DEFAULT_MAX_BYTES}
        return await api.call(f"STREAM.CREATE.{STREAM}", created | _ours() | _chosen(options), StreamInfo)
    wanted = _chosen(options) if _version(info) >= VERSION else _ours(info) | _chosen(options)
    if all(info.config.get(name) == value for name, value in wanted.items()):
        return info
    _logger.info("the stream %s is updated: %s", STREAM, ", ".join(sorted(wanted)))
    return await api.call(f"STREAM.UPDATE.{STREAM}", info.config | wanted, StreamInfo)


async def is_sync_always(options: Options) -> bool | None:
    """Whether the server syncs every message to disk before it acknowledges it; None where nobody can tell.

    JetStream's API does not say. Whoever started the server may (`Options.sync_always`), or its HTTP monitor.
    """
    if options.sync_always is not None or not options.monitor_url:
        return options.sync_always
    return await asyncio.to_thread(_ask_monitor, options.monitor_url)


def describe(info: StreamInfo, *, sync_always: bool | None) -> LogInfo:
    """The state of the log, with what an operator should know."""
    state, bytes_max = info.state, max(0, int(info.config.get("max_bytes", 0)))
    doubt = _durability_doubt(info.config, sync_always=sync_always)
    warnings = [doubt] if doubt else []
    if bytes_max and state.bytes >= NEARLY_FULL * bytes_max:
        warnings.append(f"the log is {state.bytes / bytes_max:.0%} full: trim up to a snapshot, or raise max_bytes")
    if _version(info) > VERSION:
        warnings.append(f"the stream was set up by a newer version ({_version(info)}, this is {VERSION})")
    return LogInfo(
        first_seq=state.first_seq if state.messages else 0,
        last_seq=state.last_seq,
        size_bytes=state.bytes,
        bytes_max=bytes_max,
        durable=not doubt,
        warning="; ".join(warnings),
    )


def _ours(info: StreamInfo | None = None) -> dict[str, Any]:
    """The settings that the log's promises rest on."""
    metadata: dict[str, str] = (info.config.get("metadata") or {}) if info else {}
    return {
        "subjects": [EVERYTHING],
        "description": "Events of kvbm-nats: every transition of every KV block",
        "discard": "new",
        "duplicate_window": int(DUPLICATE_WINDOW_S * _S),
        "allow_direct": True,
        "allow_atomic": True,
        "deny_delete": True,
        "metadata": metadata | {VERSION_KEY: str(VERSION)},
    }


def _chosen(options: Options) -> dict[str, Any]:
    """The settings that the options name."""
    chosen: dict[str, Any] = {}
    if options.max_bytes is not None:
        chosen["max_bytes"] = options.max_bytes
    if options.replicas is not None:
        chosen["num_replicas"] = options.replicas
    if options.max_age_s is not None:
        chosen["max_age"] = int(options.max_age_s * _S)
        if 0 < options.max_age_s < DUPLICATE_WINDOW_S:
            chosen["duplicate_window"] = chosen["max_age"]  # JetStream wants it no longer than the age
    return chosen


def _version(info: StreamInfo) -> int:
    found = (info.config.get("metadata") or {}).get(VERSION_KEY, "0")
    return int(found) if found.isdigit() else 0


def _durability_doubt(config: dict[str, Any], *, sync_always: bool | None) -> str:
    if config.get("storage") != "file":
        return "the stream is kept in memory: it ends with the server"
    if config.get("persist_mode") == "async":
        return "the stream acknowledges before it writes (persist_mode async): a crash loses acknowledged events"
    if sync_always is None:
        return SYNC_UNKNOWN
    if not sync_always:
        return "the server does not run with sync_interval: always: a power cut loses acknowledged events"
    return ""


def _ask_monitor(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/varz", timeout=_MONITOR_TIMEOUT_S) as answer:  # noqa: S310 - the operator's own URL
            config = json.load(answer).get("jetstream", {}).get("config", {})
    except (OSError, ValueError) as error:
        raise LogUnavailable(
            f"the NATS monitor at {url} does not answer", why=str(error), hint="check monitor_url, or leave it out"
        ) from error
    return bool(config.get("sync_always"))
