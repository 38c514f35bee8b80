"""Asking the services: what waits, what was dropped, what is not stored. Only services know; an embedded owner is not asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping

from nats.aio.client import Client

from kvbm_events.schema.errors import KvbmError
from kvbm_nats.live.meter import Owners
from kvbm_nats.service.asking import Asker
from kvbm_nats.service.messages import StatusCall
from kvbm_nats.status import Status

ASK_TIMEOUT_S = 1.0
INSTANCES_MAX = 64
"""Instances that are asked; `kvbm stat` says so where there are more."""


async def ask_owners(nc: Client, instances: Collection[str]) -> dict[str, Status]:
    """The status of those whose service answers, of the first `INSTANCES_MAX`."""
    asked = sorted(instances)[:INSTANCES_MAX]
    answers = await asyncio.gather(*(_ask(nc, instance) for instance in asked))
    return {instance: status for instance, status in zip(asked, answers, strict=True) if status}


async def _ask(nc: Client, instance: str) -> Status | None:
    asker = Asker(nc, instance, timeout_s=ASK_TIMEOUT_S, attempt_s=ASK_TIMEOUT_S)
    try:
        return await asker.ask("status", StatusCall(), Status, at_once=True)
    except KvbmError:
        return None


def sum_of(
    now: Mapping[str, Status], before: Mapping[str, Status], unshown: Mapping[str, int] | None, *, lag: int | None
) -> Owners:
    """What the services say together; what was dropped since `before` comes to what was `unshown`."""
    if not now:
        return Owners(lag=lag)
    dropped = Counter(unshown or {})
    for instance, status in now.items():
        if last := before.get(instance):
            dropped.update(_dropped(status))
            dropped.subtract(_dropped(last) if last.epoch == status.epoch else {})
    return Owners(
        instances=frozenset(now),
        waiting=sum(path.waiting for status in now.values() for path in status.paths),
        dropped={reason: count for reason, count in sorted(dropped.items()) if count > 0},
        unstored=sum(status.n - status.acked_n for status in now.values()),
        lag=lag,
    )


def _dropped(status: Status) -> Counter[str]:
    return sum((Counter(path.dropped) for path in status.paths), Counter[str]())
