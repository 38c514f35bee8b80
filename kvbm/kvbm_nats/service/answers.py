"""Answers that were given, so that a question put twice is done once.

Rules
1. A question that comes again while it is being done waits for the one answer; afterwards it gets the same bytes.
2. Answers are kept for `AGE_S` after they were given, at most `COUNT_MAX` of them with `BYTES_MAX` together.
3. A question whose answer may have been forgotten is refused, never done again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from kvbm_events.schema.errors import InvalidCommand

AGE_S = 60.0
COUNT_MAX = 65_536
BYTES_MAX = 64 << 20
CLIENTS_MAX = 8192
"""Clients of which it is known up to which number their answers were forgotten."""


class Reply(NamedTuple):
    """Bytes to send, and the code of the error that they are; empty for an answer."""

    data: bytes
    code: str = ""


class _Kept(NamedTuple):
    reply: Reply
    forget_at_s: float


Key = tuple[str, int]


class Answers:
    """See the module. Used on one event loop."""

    def __init__(self, clock: Callable[[], float], *, count_max: int = COUNT_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._clock, self._count_max, self._bytes_max = clock, count_max, bytes_max
        self._pending: dict[Key, asyncio.Future[Reply]] = {}
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._forgotten: OrderedDict[str, int] = OrderedDict()
        self._size_bytes = 0

    async def once(self, client: str, number: int, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply to this question: done now, or what it was before. What `work` raises is not kept.

        Raises:
            InvalidCommand: it was asked so long ago that its answer may be forgotten.
        """
        key = (client, number)
        self._forget()
        if key in self._kept:
            return self._kept[key].reply
        if key in self._pending:
            return await asyncio.shield(self._pending[key])
        self._check_new(client, number)
        future = self._pending[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await work()
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # nobody may be waiting for it
            raise
        else:
            future.set_result(reply)
            self._keep(key, reply)
            return reply
        finally:
            del self._pending[key]

    def _check_new(self, client: str, number: int) -> None:
        last = self._forgotten.get(client, 0)
        if number <= last:
            raise InvalidCommand(
                f"question {number} of client {client!r} comes too late",
                why=f"the answers to its questions up to {last} are forgotten, and this may be one of them",
                hint="number questions upwards, and look at the state before asking anew",
            )

    def _keep(self, key: Key, reply: Reply) -> None:
        self._kept[key] = _Kept(reply, self._clock() + AGE_S)
        self._size_bytes += len(reply.data)

    def _forget(self) -> None:
        now_s = self._clock()
        while self._kept:
            (client, number), oldest = next(iter(self._kept.items()))
            too_many = len(self._kept) > self._count_max or self._size_bytes > self._bytes_max
            if not too_many and oldest.forget_at_s > now_s:
                return
            del self._kept[client, number]
            self._size_bytes -= len(oldest.reply.data)
            self._forgotten[client] = max(number, self._forgotten.pop(client, 0))
            if len(self._forgotten) > CLIENTS_MAX:
                self._forgotten.popitem(last=False)
