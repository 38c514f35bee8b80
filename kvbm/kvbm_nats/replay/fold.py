"""Folding an instance's log step by step: with a pace, up to a moment, watched by whoever wants to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from kvbm_events.log import Log
from kvbm_events.sequencer import Ordered, Sequencer
from kvbm_nats.replay.moment import Moment


async def ordered_events(
    log: Log, instance: str, sequencer: Sequencer, *, after: int = 0, until: Moment | None = None, speed: float = 0.0
) -> AsyncIterator[list[Ordered]]:
    """The instance's events in their order, batch by batch, up to the moment or to the log's present end.

    Args:
        log: where they are
        instance: whose they are
        sequencer: puts them in order, and can prove afterwards that none is missing
        after: the log sequence to begin after
        until: where to stop; the end where it is left out
        speed: times the recorded pace; 0 is as fast as it goes

    Raises:
        LogGap, InvalidEvent, LogUnavailable: as they say.
    """
    last = await log.last_seq(instance)
    end = last if until is None or until.seq is None else min(last, until.seq)
    stop_us = until.at_us if until else None
    pace = _Pace(speed)
    async for batch in log.read(instance, after=after, until=end):
        ready = [ordered for entry in batch for ordered in sequencer.feed(entry)]
        if stop_us is not None and ready and ready[-1].event.at_us > stop_us:
            yield [ordered for ordered in ready if ordered.event.at_us <= stop_us]
            return
        if speed:
            for ordered in ready:
                await pace.wait(ordered.event.at_us)
                yield [ordered]
        else:
            yield ready


class _Pace:
    """Waits so that events come `speed` times as fast as they were written."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._begin: tuple[int, float] | None = None

    async def wait(self, at_us: int) -> None:
        """Wait until an event of this time is due."""
        if self._begin is None:
            self._begin = at_us, time.monotonic()
        first_us, start_s = self._begin
        due_s = start_s + (at_us - first_us) / 1e6 / self._speed
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
