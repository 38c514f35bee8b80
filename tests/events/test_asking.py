"""A question that is cancelled in the moment in which its answer comes."""

import asyncio

import pytest

from kvbm_events.jetstream.asking import ask


class Server:
    """Answers when it is told to; waits as nats-py's client does."""

    def __init__(self):
        self.answer = asyncio.get_running_loop().create_future()

    async def request(self, _subject, _data, *, timeout, headers):  # noqa: ASYNC109 - the client's signature
        assert headers is None
        return await asyncio.wait_for(self.answer, timeout)


@pytest.fixture
async def server():
    return Server()


async def test_it_is_answered(server):
    asked = asyncio.create_task(ask(server, "s", b"", timeout_s=30))
    server.answer.set_result(b"yes")
    assert await asked == b"yes"


async def test_a_cancellation_is_not_lost(server):
    asked = asyncio.create_task(ask(server, "s", b"", timeout_s=30))
    await asyncio.sleep(0)
    server.answer.set_result(b"yes")
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_a_time_limit_around_it_is_a_time_limit(server):
    asyncio.get_running_loop().call_soon(server.answer.set_result, b"yes")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await ask(server, "s", b"", timeout_s=30)
