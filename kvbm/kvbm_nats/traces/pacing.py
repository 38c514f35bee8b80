"""Playing requests at their recorded pace, faster, or as fast as they go.

A request is due at its `at_s`, divided by the speed, after the first one was asked for. A player that falls behind
gets what is overdue at once: the pace is that of the trace, not of the player.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from math import inf, isnan

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.traces.request import TraceRequest

AS_FAST_AS_IT_GOES = inf


def paced(
    requests: Iterable[TraceRequest],
    speed: float = 1.0,
    *,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[TraceRequest]:
    """Requests when they are due, blocking the thread in between. Speed 2 plays an hour in half of one.

    Raises:
        InvalidCommand: the speed is not above 0.
    """
    _check(speed)
    start_s = now_s()
    for request in requests:
        wait_s = start_s + request.at_s / speed - now_s()
        if wait_s > 0:
            sleep(wait_s)
        yield request


async def apaced(
    requests: Iterable[TraceRequest],
    speed: float = 1.0,
    *,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[TraceRequest]:
    """As `paced`, on an event loop, to which it yields before every request.

    Raises:
        InvalidCommand: the speed is not above 0.
    """
    _check(speed)
    start_s = now_s()
    for request in requests:
        await sleep(max(0.0, start_s + request.at_s / speed - now_s()))
        yield request


def _check(speed: float) -> None:
    if isnan(speed) or speed <= 0:
        raise InvalidCommand(
            f"speed {speed} plays nothing", why="the speed is a factor above 0", hint="1 is as recorded"
        )
