"""The log in NATS JetStream."""

from kvbm_events.jetstream.log import JetStreamLog
from kvbm_events.jetstream.options import Options

__all__ = ["JetStreamLog", "Options"]
