"""The stream `KVBM_REPORTS`: what workers say, kept just long enough for an owner that was away to hear it.

It is no log. What has left it is not lost for ever: the next heartbeat tells which transfers are over.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kvbm_events.jetstream.api import Api, StreamInfo

REPORTS = "KVBM_REPORTS"
EVERY_REPORT = "kvbm.reports.>"
_S = 1_000_000_000


class ReportsOptions(Struct, frozen=True, kw_only=True):
    """How much the stream keeps; whoever starts last decides. The oldest goes first.

    :ivar max_age_s: for how long
    :ivar max_bytes: of all instances together
    :ivar replicas: None leaves them as they are, or takes one
    """

    max_age_s: float = 3600.0
    max_bytes: int = 256 << 20
    replicas: int | None = None


async def ensure_reports(api: Api, options: ReportsOptions) -> StreamInfo:
    """Create the stream, or give it the limits that the options name.

    Raises:
        LogUnavailable, LogFull: JetStream does not answer, or refuses.
    """
    wanted: dict[str, Any] = {
        "subjects": [EVERY_REPORT],
        "description": "What the tier workers of kvbm-nats tell their owners",
        "discard": "old",
        "max_age": int(options.max_age_s * _S),
        "max_bytes": options.max_bytes,
        "duplicate_window": int(min(options.max_age_s, 120.0) * _S),
    }
    if options.replicas is not None:
        wanted["num_replicas"] = options.replicas
    info = await api.stream_info(REPORTS)
    if info is None:
        created = {"name": REPORTS, "storage": "file", "retention": "limits"}
        return await api.call(f"STREAM.CREATE.{REPORTS}", created | wanted, StreamInfo)
    if all(info.config.get(name) == value for name, value in wanted.items()):
        return info
    return await api.call(f"STREAM.UPDATE.{REPORTS}", info.config | wanted, StreamInfo)
