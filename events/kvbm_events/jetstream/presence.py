"""Whether the owner of an epoch lives: its writer answers at `kvbm.owners.<instance>` who asks for that very epoch.

Who does not answer in time is stopped or gone: its instance can be claimed, and it is fenced when it wakes up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from kvbm_events.jetstream.asking import ask
from kvbm_events.jetstream.connection import Connection
from kvbm_events.subjects import check_instance

ANSWER_TIMEOUT_S = 2.0


class Presence:
    """One writer's, from `start` to `stop`."""

    def __init__(self, connection: Connection, instance: str, epoch: int, lives: Callable[[], bool]) -> None:
        self._connection, self._subject = connection, _subject_of(instance)
        self._question, self._lives = _question(epoch), lives
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Answer from now on. Raises LogUnavailable."""
        try:
            self._subscription = await self._connection.nc.subscribe(self._subject, cb=self._answer)
        except (NatsError, OSError) as error:
            raise self._connection.unavailable(str(error)) from error

    async def stop(self) -> None:
        """Answer no more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def _answer(self, message: Msg) -> None:
        if self._lives() and message.data == self._question:
            with contextlib.suppress(NatsError):  # who asked takes silence for an answer
                await message.respond(b"")


async def is_owned(connection: Connection, instance: str, epoch: int) -> bool:
    """Whether the owner of this epoch answers within `ANSWER_TIMEOUT_S`."""
    try:
        await ask(connection.nc, _subject_of(instance), _question(epoch), timeout_s=ANSWER_TIMEOUT_S)
    except (NatsError, OSError, TimeoutError):
        return False
    return True


def _subject_of(instance: str) -> str:
    return f"kvbm.owners.{check_instance(instance)}"


def _question(epoch: int) -> bytes:
    return str(epoch).encode()
