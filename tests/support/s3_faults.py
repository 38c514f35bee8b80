"""What can go wrong between an S3 server and its client."""

from __future__ import annotations

import asyncio
import fnmatch
from dataclasses import dataclass, replace
from typing import Literal

from support.s3_objects import XML, Answer, Bucket, Request

Kind = Literal["status", "short", "cut", "stall", "hang", "late", "slow", "drop", "wrong", "vanish", "proxy"]
ERROR_CODES = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}


@dataclass
class Fault:
    """One kind of trouble with the requests of a method for keys that match.

    :ivar kind: `status` answers `value`; `short` sends half of the body and says that this is all; `cut` sends half and
        closes; `stall` sends half, then nothing; `hang` takes the request and never answers; `late` does its work, and
        never answers; `slow` waits `value` seconds first; `drop` closes; `wrong` flips a bit; `vanish` has forgotten the
        object; `proxy` answers 404 without saying of what
    :ivar times: how often
    """

    kind: Kind
    key: str = "*"
    method: str = "*"
    value: float = 0
    times: int = 1 << 30

    def hits(self, request: Request) -> bool:
        """Whether it strikes this request; then it is one fewer."""
        is_hit = self.times > 0 and self.method in {"*", request.method} and fnmatch.fnmatch(request.key, self.key)
        self.times -= is_hit
        return is_hit


async def before(fault: Fault, request: Request, bucket: Bucket | None) -> Answer | None:
    """What happens instead of an answer, if that is decided before there is one. Raises ConnectionError to close."""
    match fault.kind:
        case "slow":
            await asyncio.sleep(fault.value)
        case "hang":
            await asyncio.Event().wait()
        case "drop":
            raise ConnectionAbortedError
        case "status":
            code = ERROR_CODES[int(fault.value)]
            return Answer(f"{fault.value:.0f} {code}", XML, f"<Error><Code>{code}</Code></Error>".encode())
        case "proxy":
            return Answer("404 Not Found")
        case "vanish" if bucket:
            bucket.delete(request.key)
    return None


async def after(fault: Fault, answer: Answer) -> tuple[Answer, int | None]:
    """The answer as it is sent, and after how many bytes of its body it stops."""
    match fault.kind:
        case "late":
            await asyncio.Event().wait()
        case "wrong" if answer.body:
            return replace(answer, body=bytes((answer.body[0] ^ 1,)) + answer.body[1:]), None
        case "short":
            return replace(answer, body=answer.body[: len(answer.body) // 2]), None
        case "cut" | "stall":
            return answer, len(answer.body) // 2
    return answer, None
