"""The user's end of the control plane: questions to one memory host, put again until they are answered."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from msgspec import Struct
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from kvbm_events.jetstream.asking import ask
from kvbm_events.jetstream.connection import Connection
from kvbm_tiers.errors import MemoryUnavailable
from kvbm_tiers.remote.messages import Verb, decode_answer, encode, subject_of

ATTEMPT_S = 2.0
RETRY_PAUSE_S = 0.2
"""After an attempt that failed at once: nobody was there to be asked."""

T = TypeVar("T", bound=Struct)


class Line:
    """See the module. Lives on an event loop.

    :ivar heard_s: when the host last answered, or this side last was without a server: by the loop's clock
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self.heard_s = asyncio.get_running_loop().time()

    @property
    def silent_s(self) -> float:
        """For how long the host could have answered and did not."""
        now = asyncio.get_running_loop().time()
        if not self._connection.connected:
            self.heard_s = now
        return now - self.heard_s

    async def ask(self, verb: Verb, question: Struct, kind: type[T], *, timeout_s: float = float("inf")) -> T:
        """The answer.

        Raises:
            KvbmError: the host refused, with this.
            MemoryUnavailable: it did not answer in time. It may have done what was asked.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        subject, body, why = subject_of(self.name, verb), encode(question), ""
        while (left_s := give_up_at - loop.time()) > 0:
            try:
                answer = await ask(self._connection.nc, subject, body, timeout_s=min(ATTEMPT_S, left_s))
            except (NatsError, OSError, TimeoutError) as error:
                why = "nobody listens" if isinstance(error, NoRespondersError) else str(error) or type(error).__name__
                if not isinstance(error, TimeoutError):
                    await asyncio.sleep(min(RETRY_PAUSE_S, left_s))
                continue
            self.heard_s = loop.time()
            return decode_answer(answer.data, kind)
        raise MemoryUnavailable(
            f"the memory host {self.name!r} does not answer",
            why=why,
            hint=f"start it with `kvbm memory --name {self.name}`, and look whether both use the same NATS server",
        )
