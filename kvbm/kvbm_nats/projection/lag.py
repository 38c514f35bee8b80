"""How far tables are behind the log that they are made of."""

from __future__ import annotations

import time
from typing import NamedTuple

from kvbm_events.codec import decode
from kvbm_events.log import Log
from kvbm_events.schema.errors import InvalidEvent


class Lag(NamedTuple):
    """What is in the log and not in the tables.

    :ivar entries: between the checkpoint and the log's end
    :ivar age_s: since the first of them was decided, by its owner's clock; 0 where there is none
    """

    entries: int
    age_s: float


async def lag_of(log: Log, seq: int) -> Lag:
    """How far a checkpoint is behind. Raises LogUnavailable."""
    entries = max(0, await log.last_seq() - seq)
    first = await log.next_entry(seq) if entries else None
    if first is None:
        return Lag(entries, 0.0)
    try:
        at_us = decode(first.data).at_us
    except InvalidEvent:  # the projector stops there, and says so
        return Lag(entries, 0.0)
    return Lag(entries, max(0.0, time.time() - at_us / 1e6))
