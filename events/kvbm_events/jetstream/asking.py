"""One question to a NATS server or service, and its answer."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg


async def ask(nc: Client, subject: str, data: bytes, *, timeout_s: float, headers: dict[str, Any] | None = None) -> Msg:
    """The answer, or what `Client.request` raises. A cancellation is never lost.

    On Python 3.11 `asyncio.wait_for`, in which nats-py waits, returns the answer and forgets a cancellation that comes
    in the same moment: whoever ends a busy task would wait for it for ever.
    """
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    answer = await nc.request(subject, data, timeout=timeout_s, headers=headers)
    if task and task.cancelling() > cancelled:
        raise asyncio.CancelledError
    return answer
