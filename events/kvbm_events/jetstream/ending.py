"""Ending tasks that talk to NATS: nats-py swallows a cancellation that comes while it flushes, so one is not always enough."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN_S = 0.2


async def end_tasks(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel these, again and again, until all are over. What they raise is not raised here."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
