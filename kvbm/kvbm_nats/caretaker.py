"""Acting at an instance as its owner: by the service that hosts it, or by a claim of its own where no owner lives.

An owner that lives and is no service cannot be asked; to claim its instance would fence it, and with it its engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema import EvictReason, TierName
from kvbm_events.schema.errors import KvbmError, LogUnavailable
from kvbm_nats.manager import BlockManager
from kvbm_nats.publisher import Publisher
from kvbm_statemachine import State
from kvbm_tiers import Deletion, Job, Memory, Report


class OwnerAlive(KvbmError):
    """The instance has an owner that is no service: it cannot be asked, and must not be fenced."""


class Caretaker(Protocol):
    """What can be done; `Publisher` does it too."""

    async def evict(self, keys: Sequence[str], *, tier: TierName, reason: EvictReason, actor: str) -> int:
        """See `BlockManager.evict`."""
        ...

    async def free_quarantined(self, tiers: Sequence[TierName], *, actor: str) -> int:
        """See `BlockManager.free_quarantined`."""
        ...


@asynccontextmanager
async def caretaker_of(log: JetStreamLog, url: str, instance: str, state: State) -> AsyncIterator[Caretaker]:
    """Whoever can act at the instance; `state` is what its log tells.

    Raises:
        OwnerAlive: an owner lives that is no service.
        Fenced: another owner claimed the instance in this moment.
        KvbmError: as `BlockManager.open`.
    """
    if service := await _service(url, instance):
        async with service:
            yield service
        return
    if await log.is_owned(instance):
        raise OwnerAlive(
            f"{instance!r} has an owner that cannot be asked",
            why="it is embedded in an engine, and a claim would take the instance from it",
            hint="stop the engine first; what is corrupt is also found when it is read",
        )
    with BlockManager.open(
        url,
        instance,
        namespace=state.namespace,
        tiers=[tier.spec for tier in state.tiers.values()],
        requests="kept",
        mover=_Nobody(),
    ) as manager:
        yield _Claim(manager)


async def _service(url: str, instance: str) -> Publisher | None:
    """The service that hosts the instance, if one does."""
    try:
        return await Publisher.connect(url, instance)
    except LogUnavailable:
        return None


class _Claim:
    """An owner for as long as there is something to do. It writes what it does before it says that it is done."""

    def __init__(self, manager: BlockManager) -> None:
        self._manager = manager

    async def evict(self, keys: Sequence[str], *, tier: TierName, reason: EvictReason, actor: str) -> int:
        return self._manager.evict(keys, tier=tier, reason=reason, actor=actor)

    async def free_quarantined(self, tiers: Sequence[TierName], *, actor: str) -> int:
        return self._manager.free_quarantined(tiers, actor=actor)


class _Nobody:
    """A mover that moves nothing, and knows nothing of what owners before left to others."""

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:  # noqa: ARG002 - nothing is begun
        """See `Mover.begin`."""
        return not left

    def memories(self) -> list[Memory]:
        """See `Mover.memories`."""
        return []

    def submit(self, job: Job) -> None:
        """See `Mover.submit`: it is never asked to."""
        raise RuntimeError(f"transfer {job.transfer} has nobody to move it")

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        return []

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`."""

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`: objects that stay are orphans, which are found by their names."""

    def close(self) -> None:
        """See `Mover.close`."""
