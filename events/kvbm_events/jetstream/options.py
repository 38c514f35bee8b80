"""What can be chosen about a log in JetStream, and what cannot."""

from __future__ import annotations

from msgspec import Struct

STREAM = "KVBM"
BUCKET = "KVBM_SNAPSHOTS"
DEFAULT_MAX_BYTES = 4 << 30


class Options(Struct, frozen=True, kw_only=True):
    """How to connect, what the stream may hold, and how long to wait.

    `max_bytes`, `max_age_s` and `replicas` belong to the stream: None leaves them as they are, or takes the default
    when the stream is created (4 GiB, no age, one replica); another value changes the stream.

    :ivar name: what the server's operator sees as the name of the connection
    :ivar credentials: a file with a user's JWT and seed; empty where the URL says it all
    :ivar max_bytes: how much the log may hold; the next event is refused with `LogFull`
    :ivar max_age_s: how long an event is kept. With this, events vanish without a snapshot; 0 is for ever
    :ivar window: how many events may be under way one by one; batches of up to 1,000 come on top
    :ivar timeout_s: how long one answer may take before it counts as unknown and is asked for again
    :ivar patience_s: how long nothing may move before `LogUnavailable` is raised
    :ivar snapshots_kept: how many snapshots of an instance are kept
    :ivar sync_always: whether whoever started the server knows that it syncs every message; None for unknown
    :ivar monitor_url: the server's HTTP monitor, which is asked for what `sync_always` leaves open
    """

    name: str = "kvbm"
    credentials: str = ""
    max_bytes: int | None = None
    max_age_s: float | None = None
    replicas: int | None = None
    window: int = 256
    timeout_s: float = 2.0
    patience_s: float = 30.0
    snapshots_kept: int = 8
    sync_always: bool | None = None
    monitor_url: str = ""
