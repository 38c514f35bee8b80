"""The client's end of a question: put, put again under the same number, answered or given up."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from msgspec import Struct, structs
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.micro.request import ERROR_CODE_HEADER

from kvbm_events.jetstream.asking import ask
from kvbm_events.schema.errors import InvalidCommand, LogUnavailable
from kvbm_nats.service.messages import Call, Verb, subject_of
from kvbm_nats.service.wire import decode_answer, decode_error, encode

T = TypeVar("T", bound=Struct)

RETRY_PAUSE_S = 0.1
"""After an attempt that failed at once: nobody was there to be asked."""


class Asker:
    """Asks one instance.

    :ivar timeout_s: how long a question is put again, beside what its answer may wait for transfers
    :ivar attempt_s: how long one attempt may take
    """

    def __init__(self, nc: Client, instance: str, *, timeout_s: float, attempt_s: float) -> None:
        self.instance, self.timeout_s, self.attempt_s = instance, timeout_s, attempt_s
        self._nc = nc

    async def ask(
        self, verb: Verb, question: Struct, kind: type[T], *, wait_s: float = 0.0, at_once: bool = False
    ) -> T:
        """The answer.

        Args:
            verb: which endpoint
            question: its body
            kind: what the answer is
            wait_s: how long the answer may wait for transfers
            at_once: give up as soon as it is known that nobody listens

        Raises:
            KvbmError: what the service refused with, of the same class.
            LogUnavailable: nobody answered in time. What was asked may have been done.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self.timeout_s + wait_s
        subject, body = subject_of(self.instance, verb), encode(question)
        attempt, why = 0, ""
        while (left_s := give_up_at - loop.time()) > 0:
            try:
                answer = await ask(self._nc, subject, body, timeout_s=min(self.attempt_s + wait_s, left_s))
            except MaxPayloadError as error:
                why = f"the server takes messages of {self._nc.max_payload} bytes, this is {len(body)}"
                raise InvalidCommand(f"{verb} is too large", why=why, hint="ask for fewer keys at once") from error
            except NatsTimeoutError:
                why = f"no answer to {attempt + 1} attempts"
            except NatsError as error:
                why = "nobody listens" if isinstance(error, NoRespondersError) else str(error)
                if at_once:
                    break
                await asyncio.sleep(min(RETRY_PAUSE_S, left_s))
            else:
                if answer.headers and ERROR_CODE_HEADER in answer.headers:
                    raise decode_error(answer.data)
                return decode_answer(answer.data, kind)
            attempt += 1
            if isinstance(question, Call):
                body = encode(structs.replace(question, attempt=attempt))
        raise self._unanswered(verb, why)

    def _unanswered(self, verb: Verb, why: str) -> LogUnavailable:
        return LogUnavailable(
            f"nobody answers for instance {self.instance!r}",
            why=f"{verb}: {why}",
            hint=f"start it with `kvbm serve --instance {self.instance}`, or look at `nats micro ls`",
        )
