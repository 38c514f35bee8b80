"""What the log's server says of it, and how far a projection is behind."""

from __future__ import annotations

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.jetstream.stream import SYNC_UNKNOWN
from kvbm_events.log import LogInfo
from kvbm_nats.check.finding import Finding, Value, level_of
from kvbm_nats.check.limits import Limits
from kvbm_nats.projection.errors import ProjectionError
from kvbm_nats.projection.lag import lag_of
from kvbm_nats.projection.reading import open_projection


def look_at_log(info: LogInfo, limits: Limits) -> list[Finding]:
    """How full it is, and whether it outlives a power cut."""
    share = info.size_bytes / info.bytes_max if info.bytes_max else 0.0
    value = Value(of="", value=share, warning=limits.log_full.warning, critical=limits.log_full.critical)
    limit = f"of {info.bytes_max / 2**30:.2f} GiB" if info.bytes_max else "without a limit"
    full = f"{info.size_bytes / 2**30:.2f} {limit}"
    is_unknown = SYNC_UNKNOWN in info.warning
    synced = "synced before it is acknowledged" if info.durable else info.warning
    return [
        Finding(name="log", level=level_of([value]), what=full, values=[value]),
        Finding(name="synced", level="ok" if info.durable or is_unknown else "warning", what=synced),
    ]


async def look_at_projection(log: JetStreamLog, url: str, limits: Limits) -> Finding:
    """How far its tables are behind. Raises LogUnavailable."""
    try:
        async with open_projection(url) as projection:
            seq = (await projection.position()).seq
    except ProjectionError as error:
        return Finding(name="projection", level="critical", what=error.what)
    lag = await lag_of(log, seq)
    value = Value(of="", value=lag.age_s, unit="s", warning=limits.lag_s.warning, critical=limits.lag_s.critical)
    what = f"{lag.entries:,} events behind, the oldest {lag.age_s:.1f} s" if lag.entries else "at the end of the log"
    return Finding(name="projection", level=level_of([value]), what=what, values=[value])
