"""A server that loses the log's end in a power cut while a projector follows it, and writes on."""

from __future__ import annotations

import asyncio

import pytest

from kvbm_events.memory import MemoryLog
from kvbm_nats.projection import Projector
from projection.checks import assert_equal, reached
from projection.histories import busy_story, log_of


class SwappedLog:
    """A log that becomes another one: who reads goes on with the next sequence there, as after a reconnect."""

    def __init__(self, log):
        self._log, self._other, self._swapped = log, None, asyncio.Event()

    def swap(self, other):
        self._log, self._other = other, other
        self._swapped.set()

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def read(self, instance=None, *, after=0, until=None):
        before = self._other
        batches = self._log.read(instance, after=after, until=until)
        while True:
            following = asyncio.ensure_future(anext(batches, None))
            swapped = asyncio.ensure_future(self._swapped.wait())
            done, _ = await asyncio.wait(
                [following, swapped] if before is None else [following], return_when=asyncio.FIRST_COMPLETED
            )
            swapped.cancel()
            if following not in done:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                before = self._other
                batches = self._log.read(instance, after=after, until=until)
            elif batch := following.result():
                after = batch[-1].seq
                yield batch
            else:
                return


@pytest.mark.parametrize("lost", [1, 5, 12])
async def test_the_end_that_was_lost_is_undone(tmp_path, lost):
    story = busy_story(30, 60)
    log = SwappedLog(log_of(a=story))
    url = f"sqlite:///{tmp_path}/p.db"
    projector = Projector(log, url)
    running = asyncio.create_task(projector.run())
    checkpoint = await log.last_seq()
    await reached(projector, checkpoint)

    # What came back after the power cut lacks the end; two owners that were restarted write past the checkpoint.
    back, other = MemoryLog(), busy_story(31, 60)
    for event in story.events[: checkpoint - lost]:
        back.store("a", event)
    for event in other.events:
        back.store("b", event)
    assert await back.last_seq() > checkpoint
    log.swap(back)

    await reached(projector, await back.last_seq())
    assert projector.status.rebuilds == 1
    assert f"at {checkpoint} the log has b." in projector.status.reason
    await assert_equal(url, back)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
