"""Finding a place in the log without reading what lies before it: bisection over the instance's message ids.

Events stand in the stream in the order of `(epoch, n)`, but for those that were sent again after a doubt: such a one may
stand behind at most as many as can be under way at once. So the search aims that far ahead of the place.
"""

from __future__ import annotations

from typing import NamedTuple

from kvbm_events.jetstream.api import Api, Message
from kvbm_events.jetstream.options import STREAM
from kvbm_events.jetstream.wire import MESSAGE_ID
from kvbm_events.log import lost_end
from kvbm_events.subjects import events_of, parse_message_id

UNDER_WAY_MAX = 4096
"""More events than a writer has under way at once: a window of single ones, and two batches of 1,000."""
CLOSE_ENOUGH = 1024
"""Entries that are rather read than searched."""


class Start(NamedTuple):
    """Where to read on: after sequence `after` of the log.

    :ivar first_n: the number of the first event that is left, where what was before it was trimmed; else 0
    """

    after: int
    first_n: int = 0


async def seek(api: Api, instance: str, epoch: int, n: int, *, trimmed: int = 0) -> Start:
    """Where to begin in order to have every event after `(epoch, n)`. See `JetStreamLog.seek`."""
    pattern = events_of(instance)
    last = await api.message(STREAM, last_by_subj=pattern)
    opened = await api.message(STREAM, last_by_subj=pattern.replace(">", "all.opened"))
    low = max(trimmed, opened.seq if opened else 0)
    if last is None or _place(last)[0] != epoch:
        raise lost_end(last.seq if last else 0, n)
    high = last.seq
    while high - low > CLOSE_ENOUGH:
        middle = (low + high) // 2
        found = await api.message(STREAM, seq=middle, next_by_subj=pattern)
        if found and found.seq <= high and _place(found) <= (epoch, n - UNDER_WAY_MAX):
            low = found.seq
        else:
            high = middle
    if low > trimmed or low == 0:
        return Start(low)
    first = await api.message(STREAM, seq=low + 1, next_by_subj=pattern)
    return Start(low, _place(first)[1] if first else 0)


def _place(message: Message) -> tuple[int, int]:
    return parse_message_id(message.headers.get(MESSAGE_ID, "")) or (0, -1)
