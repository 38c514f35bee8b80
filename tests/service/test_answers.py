"""A question that comes twice is done once."""

import asyncio

import pytest

from kvbm_events.schema.errors import InvalidCommand, TierFull
from kvbm_nats.service.answers import AGE_S, Answers, Reply
from support.service import Clock


class Work:
    """Counts how often it was done; waits where it is told to."""

    def __init__(self):
        self.times = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.fault = None

    async def __call__(self):
        self.times += 1
        await self.may_end.wait()
        if self.fault:
            raise self.fault
        return Reply(f"answer {self.times}".encode())


@pytest.fixture
def work():
    return Work()


async def test_the_same_question_gets_the_same_bytes(work):
    answers = Answers(Clock())
    assert await answers.once("a", 1, work) == await answers.once("a", 1, work) == Reply(b"answer 1")
    assert work.times == 1


async def test_another_client_or_number_is_another_question(work):
    answers = Answers(Clock())
    replies = [await answers.once(client, number, work) for client in "ab" for number in (1, 2)]
    assert [reply.data for reply in replies] == [b"answer 1", b"answer 2", b"answer 3", b"answer 4"]


async def test_a_question_that_comes_again_meanwhile_waits_for_the_one_answer(work):
    answers = Answers(Clock())
    work.may_end.clear()
    asked = [asyncio.create_task(answers.once("a", 1, work)) for _ in range(3)]
    await asyncio.sleep(0)
    work.may_end.set()
    assert set(await asyncio.gather(*asked)) == {Reply(b"answer 1")}


async def test_what_failed_is_told_to_all_and_not_kept(work):
    answers = Answers(Clock())
    work.fault = TierFull("full")
    work.may_end.clear()
    asked = [asyncio.create_task(answers.once("a", 1, work)) for _ in range(2)]
    await asyncio.sleep(0)
    work.may_end.set()
    assert all(isinstance(each, TierFull) for each in await asyncio.gather(*asked, return_exceptions=True))
    assert work.times == 1
    work.fault = None
    assert await answers.once("a", 1, work) == Reply(b"answer 2")


async def test_a_forgotten_question_is_refused_and_not_done_again(work):
    clock = Clock()
    answers = Answers(clock)
    await answers.once("a", 7, work)
    clock.now_s += AGE_S
    with pytest.raises(InvalidCommand, match="up to 7 are forgotten"):
        await answers.once("a", 7, work)
    with pytest.raises(InvalidCommand, match="comes too late"):
        await answers.once("a", 6, work)
    await answers.once("a", 8, work)
    await answers.once("b", 7, work)
    assert work.times == 3


@pytest.mark.parametrize("limits", [{"count_max": 2}, {"bytes_max": 2 * len("answer 1")}])
async def test_only_so_many_answers_are_kept(work, limits):
    answers = Answers(Clock(), **limits)
    for number in range(1, 5):
        await answers.once("a", number, work)
    for number in (3, 4):
        assert await answers.once("a", number, work) == Reply(f"answer {number}".encode())
    with pytest.raises(InvalidCommand):
        await answers.once("a", 2, work)
