"""tail: the last entries of a log that are wanted, and then those that come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
from msgspec import Struct

from kvbm_events.log import Entry, Log
from kvbm_events.schema.errors import LogGap
from kvbm_nats.replay.moment import Moment

BACK_MAX = 65_536
"""Entries that are looked through for the last wanted ones."""
_FIRST_STEP = 1024
Wanted = Callable[[Entry], bool]


async def last_entries(log: Log, instance: str | None, wanted: Wanted, *, count: int, until: int) -> list[Entry]:
    """The last `count` wanted entries up to and with `until`, among the last `BACK_MAX`; fewer where there are no more.

    What was trimmed is not there, and no error.
    """
    found: list[Entry] = []
    end, step, oldest = until, _FIRST_STEP, max(0, until - BACK_MAX)
    while end > oldest and len(found) < count:
        start = max(oldest, end - step)
        entries: list[Entry] = []
        try:
            async for batch in log.read(instance, after=start, until=end):
                entries += filter(wanted, batch)
        except LogGap:
            if end - start == 1:
                break
            step = max(1, (end - start) // 4)
            continue
        found = entries + found
        end, step = start, step * 2
    return found[-count:] if count else []


async def entries_between(
    log: Log, instance: str | None, wanted: Wanted, *, after: int, until: int | None
) -> AsyncIterator[list[Entry]]:
    """Wanted entries with `after < seq ≤ until`, batch by batch; without `until` also those that will come.

    Raises:
        LogGap, LogUnavailable: as `Log.read`.
    """
    async for batch in log.read(instance, after=after, until=until):
        if chosen := [entry for entry in batch if wanted(entry)]:
            yield chosen


async def seq_of_moment(log: Log, moment: Moment | None) -> int:
    """The last sequence up to a moment; the log's last where none is given.

    A time is found by bisection: the owners' clocks are taken to go forward, and together.
    """
    last = await log.last_seq()
    if moment is None:
        return last
    if moment.at_us is None:
        return min(last, moment.seq or 0)
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        entry = await log.next_entry(middle)
        if entry is None or entry.seq > high or _time_of(entry) > moment.at_us:
            high = middle
        else:
            low = entry.seq
    return low


class _Time(Struct):
    at_us: int


def _time_of(entry: Entry) -> int:
    return msgspec.json.decode(entry.data, type=_Time).at_us
