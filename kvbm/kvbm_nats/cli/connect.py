"""The log that a command reads or writes; a person at a terminal waits less long for a server than an engine does."""

from __future__ import annotations

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_nats.cli.options import NatsOptions

PATIENCE_S = 5.0


async def connect_log(nats: NatsOptions) -> JetStreamLog:
    """Connect to the server that the options name. Raises LogUnavailable if none answers within a few seconds."""
    return await JetStreamLog.connect(nats.nats_url, Options(name="kvbm", patience_s=PATIENCE_S))
