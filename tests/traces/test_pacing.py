"""The pace: by an injected clock, that of the trace and not of the player."""

from __future__ import annotations

import asyncio

import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.traces import AS_FAST_AS_IT_GOES, TraceRequest, apaced, paced


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def now_s(self) -> float:
        return self.now

    def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now += wait_s

    async def asleep(self, wait_s: float) -> None:
        self.sleep(wait_s)
        await asyncio.sleep(0)


def requests(*times):
    return [
        TraceRequest(at_s=at, request=f"r{at}", keys=[], new_blocks=0, tokens_in=1, tokens_out=1, block_tokens=16)
        for at in times
    ]


@pytest.mark.parametrize(("speed", "due"), [(1, [0, 2, 2, 7]), (2, [0, 1, 1, 3.5]), (0.5, [0, 4, 4, 14])])
async def test_requests_come_when_they_are_due(speed, due):
    trace = requests(0, 2, 2, 7)
    clock = Clock()
    assert [(r.at_s, clock.now - 1000) for r in paced(trace, speed, now_s=clock.now_s, sleep=clock.sleep)] == list(
        zip([0, 2, 2, 7], due, strict=True)
    )
    clock = Clock()
    played = [clock.now - 1000 async for _ in apaced(trace, speed, now_s=clock.now_s, sleep=clock.asleep)]
    assert played == due


def test_a_player_that_is_late_catches_up():
    clock = Clock()
    seen = []
    for request in paced(requests(0, 1, 2, 10), now_s=clock.now_s, sleep=clock.sleep):
        seen.append((request.at_s, clock.now - 1000))
        clock.now += 3
    assert seen == [(0, 0), (1, 3), (2, 6), (10, 10)]


async def test_as_fast_as_it_goes_never_waits():
    clock = Clock()
    trace = requests(0, 1e9)
    assert list(paced(trace, AS_FAST_AS_IT_GOES, now_s=clock.now_s, sleep=clock.sleep)) == trace
    assert [r async for r in apaced(trace, AS_FAST_AS_IT_GOES, now_s=clock.now_s, sleep=clock.asleep)] == trace
    assert sum(clock.slept) == 0


async def test_the_event_loop_gets_its_turn_before_every_request():
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for _ in apaced(requests(0, 0, 0, 0), AS_FAST_AS_IT_GOES):
        pass
    task.cancel()
    assert turns >= 3


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_speed_that_plays_nothing(speed):
    with pytest.raises(InvalidCommand, match="above 0"):
        list(paced(requests(0), speed))
