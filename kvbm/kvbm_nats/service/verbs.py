"""What each verb does: from a question to what the owner is told, and to the answer.

Every question renews the lease of the client that asks, and what it names belongs to that client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kvbm_events.schema.errors import InvalidCommand, RefusedError, UnknownRequest
from kvbm_nats.manager import BlockManager
from kvbm_nats.offloading import Ticket
from kvbm_nats.service import bring_up, retries
from kvbm_nats.service.leases import Leases
from kvbm_nats.service.messages import (
    AllocateAnswer,
    AllocateCall,
    Call,
    EvictAnswer,
    EvictCall,
    FreeAnswer,
    FreeCall,
    MatchAnswer,
    MatchCall,
    OffloadCall,
    OnboardCall,
    RegisterAnswer,
    RegisterCall,
    ReleaseAnswer,
    ReleaseCall,
    RenewAnswer,
    RenewCall,
    TierHit,
    TransfersAnswer,
)
from kvbm_nats.service.owner import OwnerThread

T = TypeVar("T")


class Verbs:
    """One method a verb, each for the event loop; the leases are the owner thread's."""

    def __init__(self, owner: OwnerThread, leases: Leases, clock: Callable[[], float]) -> None:
        self._owner, self._leases, self._clock = owner, leases, clock

    async def allocate(self, call: AllocateCall) -> AllocateAnswer:
        """See `BlockManager.allocate`."""

        def work(manager: BlockManager) -> AllocateAnswer:
            slots = manager.allocate(call.request, call.count, tier=call.tier, priority=call.priority)
            return AllocateAnswer(epoch=manager.state.epoch, n=manager.state.n, slots=slots)

        return await self._run(call, work, call.request)

    async def register(self, call: RegisterCall) -> RegisterAnswer:
        """See `BlockManager.register`."""

        def work(manager: BlockManager) -> RegisterAnswer:
            try:
                slots = manager.register(call.request, call.slots, call.keys, parent=call.parent, tier=call.tier)
            except RefusedError:
                slots = retries.registered_before(manager, call)
                if not slots:
                    raise
            return RegisterAnswer(epoch=manager.state.epoch, n=manager.state.n, slots=slots)

        return await self._run(call, work, call.request)

    async def release(self, call: ReleaseCall) -> ReleaseAnswer:
        """See `BlockManager.release`."""

        def work(manager: BlockManager) -> ReleaseAnswer:
            try:
                manager.release(call.request, reason=call.reason, tier=call.tier, slots=call.slots)
            except UnknownRequest:
                if not retries.is_over_restart(manager, call):
                    raise
            return ReleaseAnswer(epoch=manager.state.epoch, n=manager.state.n)

        return await self._run(call, work, call.request)

    async def match(self, call: MatchCall) -> MatchAnswer:
        """See `BlockManager.match`; and what was found below g1 comes up if that is asked for."""
        if call.onboard and not call.hold:
            raise InvalidCommand("match with onboard and without hold", why="what comes up comes for who holds it")

        def look(manager: BlockManager) -> MatchAnswer:
            hits = manager.match(call.request, call.keys, hold=call.hold, priority=call.priority)
            found = [TierHit(tier=hit.tier, slots=list(hit.slots)) for hit in hits]
            return MatchAnswer(epoch=manager.state.epoch, n=manager.state.n, hits=found)

        found = await self._run(call, look, call.request)
        if not call.onboard or not bring_up.is_below(found.hits):
            return found
        wanted = bring_up.Wanted(call, found.hits)
        note = await self._run(call, wanted.start)
        await self._owner.until(wanted.is_over, call.wait_s)
        await self._owner.run(lambda _: None)  # what arrived may be told once that is stored
        return await self._owner.run(lambda manager: wanted.look_again(manager, note))

    async def offload(self, call: OffloadCall) -> TransfersAnswer:
        """See `BlockManager.offload`."""

        def work(manager: BlockManager) -> Ticket:
            return manager.offload(call.keys, source=call.source, tier=call.tier, priority=call.priority)

        return await self._wait_over(call, await self._run(call, work), call.wait_s)

    async def onboard(self, call: OnboardCall) -> TransfersAnswer:
        """See `BlockManager.onboard`."""

        def work(manager: BlockManager) -> Ticket:
            return manager.onboard(call.request, call.keys, source=call.source, tier=call.tier)

        return await self._wait_over(call, await self._run(call, work, call.request), call.wait_s)

    async def evict(self, call: EvictCall) -> EvictAnswer:
        """See `BlockManager.evict`."""

        def work(manager: BlockManager) -> EvictAnswer:
            blocks = manager.evict(call.keys, tier=call.tier, reason=call.reason, actor=call.actor)
            return EvictAnswer(epoch=manager.state.epoch, n=manager.state.n, blocks=blocks)

        return await self._run(call, work)

    async def free(self, call: FreeCall) -> FreeAnswer:
        """See `BlockManager.free_quarantined`."""

        def work(manager: BlockManager) -> FreeAnswer:
            slots = manager.free_quarantined(call.tiers, actor=call.actor)
            return FreeAnswer(epoch=manager.state.epoch, n=manager.state.n, slots=slots)

        return await self._run(call, work)

    async def renew(self, call: RenewCall) -> RenewAnswer:
        """The client's lease anew, and the requests that it says are its own."""

        def work(manager: BlockManager) -> RenewAnswer:
            is_open = {request: request in manager.state.requests for request in call.requests}
            for request in call.requests:
                self._leases.note(request, call.client, is_open=is_open[request])
            return RenewAnswer(
                epoch=manager.state.epoch,
                n=manager.state.n,
                lease_s=self._leases.lease_s,
                lost=[request for request in call.requests if not is_open[request]],
            )

        return await self._run(call, work)

    async def _run(self, call: Call, work: Callable[[BlockManager], T], request: str = "") -> T:
        def with_lease(manager: BlockManager) -> T:
            self._leases.renew(call.client, self._clock())
            try:
                return work(manager)
            finally:
                if request:
                    self._leases.note(request, call.client, is_open=request in manager.state.requests)

        return await self._owner.run(with_lease, durable=call.durable)

    async def _wait_over(self, call: Call, ticket: Ticket, wait_s: float) -> TransfersAnswer:
        if wait_s:
            await self._owner.until(lambda _: ticket.is_over, wait_s)

        def tell(manager: BlockManager) -> TransfersAnswer:
            return TransfersAnswer(
                epoch=manager.state.epoch,
                n=manager.state.n,
                transfers=ticket.transfers.copy(),
                over=ticket.is_over,
                waiting=ticket.waiting,
                failed=dict(ticket.failed),
            )

        return await self._owner.run(tell, durable=call.durable)
