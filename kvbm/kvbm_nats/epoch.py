"""How an owner begins: it recovers what the log says, and claims the next epoch by an event of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from kvbm_events.schema import Opened, Requests, TierName, TierSpec
from kvbm_nats.log_thread import LogThread
from kvbm_nats.recovery import Recovered, recover
from kvbm_statemachine.decide import plan_opening
from kvbm_tiers.job_book import wall_clock_us

RECOVERY_TIMEOUT_S = 3600.0


def claim(
    thread: LogThread,
    instance: str,
    *,
    namespace: str,
    note: str,
    tiers: Sequence[TierSpec],
    keep: Sequence[TierName],
    requests: Requests,
) -> tuple[Recovered, Opened]:
    """What the log had, and the epoch that was begun after it. Arguments and errors are those of `BlockManager.open`."""
    recovered = thread.call(lambda log: recover(log, instance), timeout_s=RECOVERY_TIMEOUT_S)
    opened = plan_opening(
        recovered.state,
        namespace=namespace,
        owner=f"{socket.gethostname()}:{os.getpid()} {note}".rstrip(),
        tiers=tiers,
        keep=keep,
        requests=requests,
        now_us=wall_clock_us(),
    )
    thread.open_writer(instance, opened, recovered.after)
    return recovered, opened
