"""Publisher: the client of `kvbm serve`, for those who do not embed a `BlockManager`. The same words, awaited.

    async with await Publisher.connect("nats://127.0.0.1:4222", "replica-0") as kv:
        answer = await kv.match("req-1", keys, onboard=True)
        slots = await kv.allocate("req-1", 3)
        await kv.register("req-1", slots, new_keys, parent=keys[-1])
        await kv.release("req-1")

A question that is not answered in time is put again under the same number, so it is done once. An answer comes when
what was done is stored, unless `durable=False` is asked for. The client has a lease, renewed behind the scenes: when it
goes away without releasing its requests, they are released for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from kvbm_events.jetstream import Options as LogOptions
from kvbm_events.jetstream.connection import Connection
from kvbm_events.schema import ROOT, EvictReason, ReleaseReason, TierName
from kvbm_events.schema.errors import KvbmError, UnknownRequest
from kvbm_nats.service import messages as msg
from kvbm_nats.service.asking import Asker
from kvbm_nats.status import Status

A = TypeVar("A", bound=msg.Answer)

CONNECT_S = 5.0
"""How long to try for a first connection."""


class Publisher:
    """See the module. Made by `connect`; lives on one event loop.

    Every method raises what `BlockManager`'s raises, and `LogUnavailable` when nobody answers in time.

    :ivar client: the name that the service knows it by
    :ivar lease_s: how long it may be silent
    """

    def __init__(self, connection: Connection, asker: Asker, client: str) -> None:
        self.client, self.lease_s = client, 0.0
        self._connection, self._asker = connection, asker
        self._number = 0
        self._epoch = self._claimed_epoch = 0
        self._requests: set[str] = set()
        self._renewing: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls,
        url: str,
        instance: str,
        *,
        client: str = "",
        credentials: str = "",
        timeout_s: float = 15.0,
        attempt_s: float = 2.0,
    ) -> Self:
        """Connect to a server, and through it to the service that hosts the instance.

        Args:
            url: of a NATS server, or of several with commas between
            instance: which one
            client: a name of its own for this client; made up by default
            credentials: a file with a user's JWT and seed; empty where the URL says it all
            timeout_s: how long a question is put again
            attempt_s: how long one attempt may take

        Raises:
            LogUnavailable: no server answers, or nobody hosts the instance.
            InvalidCommand: the instance's or the client's name cannot be one.
        """
        client = client or secrets.token_hex(8)
        options = LogOptions(name=f"kvbm client {client}", credentials=credentials, patience_s=CONNECT_S)
        connection = await Connection.open(url, options)
        self = cls(connection, Asker(connection.nc, instance, timeout_s=timeout_s, attempt_s=attempt_s), client)
        try:
            await self._renew(at_once=True)
        except KvbmError:
            await connection.close()
            raise
        self._renewing = asyncio.create_task(self._keep_lease())
        return self

    async def match(
        self,
        request: str,
        keys: Sequence[str],
        *,
        hold: bool = True,
        priority: int = 50,
        onboard: bool = False,
        wait_s: float = 30.0,
        durable: bool = True,
    ) -> msg.MatchAnswer:
        """Find the longest prefix of `keys`; with `onboard`, bring it to g1 first, for at most `wait_s`."""
        if hold:
            self._requests.add(request)
        call = msg.MatchCall(
            **self._head(durable=durable),
            request=request,
            keys=list(keys),
            hold=hold,
            priority=priority,
            onboard=onboard,
            wait_s=wait_s,
        )
        return await self._ask("match", call, msg.MatchAnswer, wait_s if onboard else 0.0)

    async def allocate(
        self, request: str, count: int, *, tier: TierName = "g1", priority: int = 50, durable: bool = True
    ) -> list[int]:
        """Slots for the request to fill."""
        self._requests.add(request)
        head = self._head(durable=durable)
        call = msg.AllocateCall(**head, request=request, count=count, tier=tier, priority=priority)
        return (await self._ask("allocate", call, msg.AllocateAnswer)).slots

    async def register(
        self,
        request: str,
        slots: Sequence[int],
        keys: Sequence[str],
        *,
        parent: str = ROOT,
        tier: TierName = "g1",
        durable: bool = True,
    ) -> list[int]:
        """Make filled slots matchable; the slots that hold the keys from now on."""
        call = msg.RegisterCall(
            **self._head(durable=durable),
            request=request,
            slots=list(slots),
            keys=list(keys),
            parent=parent,
            tier=tier,
        )
        return (await self._ask("register", call, msg.RegisterAnswer)).slots

    async def release(
        self,
        request: str,
        *,
        reason: ReleaseReason = "finished",
        tier: TierName | Literal[""] = "",
        slots: Sequence[int] = (),
        durable: bool = True,
    ) -> None:
        """Give back what the request holds: all, in one tier, or some allocated slots."""
        head = self._head(durable=durable)
        call = msg.ReleaseCall(**head, request=request, reason=reason, tier=tier, slots=list(slots))
        try:
            await self._ask("release", call, msg.ReleaseAnswer)
        except UnknownRequest:
            self._requests.discard(request)
            raise
        if not tier:
            self._requests.discard(request)

    async def offload(
        self,
        keys: Sequence[str],
        *,
        source: TierName = "g1",
        tier: TierName = "g2",
        priority: int = 50,
        wait_s: float = 0.0,
        durable: bool = True,
    ) -> msg.TransfersAnswer:
        """Copy blocks down when their turn comes, and wait for at most `wait_s` until that is over."""
        call = msg.OffloadCall(
            **self._head(durable=durable), keys=list(keys), source=source, tier=tier, priority=priority, wait_s=wait_s
        )
        return await self._ask("offload", call, msg.TransfersAnswer, wait_s)

    async def onboard(
        self,
        request: str,
        keys: Sequence[str],
        *,
        source: TierName = "g2",
        tier: TierName = "g1",
        wait_s: float = 0.0,
        durable: bool = True,
    ) -> msg.TransfersAnswer:
        """Copy blocks up for a request when their turn comes, and wait for at most `wait_s` until that is over."""
        call = msg.OnboardCall(
            **self._head(durable=durable), request=request, keys=list(keys), source=source, tier=tier, wait_s=wait_s
        )
        return await self._ask("onboard", call, msg.TransfersAnswer, wait_s)

    async def evict(
        self,
        keys: Sequence[str],
        *,
        tier: TierName,
        reason: EvictReason = "operator",
        actor: str = "operator",
        durable: bool = True,
    ) -> int:
        """Evict blocks and all that stand on them; how many."""
        call = msg.EvictCall(**self._head(durable=durable), keys=list(keys), tier=tier, reason=reason, actor=actor)
        return (await self._ask("evict", call, msg.EvictAnswer)).blocks

    async def free_quarantined(self, tiers: Sequence[TierName], *, actor: str = "operator") -> int:
        """Say that nobody writes any more to the quarantined slots of these tiers; how many are free now."""
        call = msg.FreeCall(**self._head(durable=True), tiers=list(tiers), actor=actor)
        return (await self._ask("free", call, msg.FreeAnswer)).slots

    async def status(self, *, with_digest: bool = False, with_room: bool = False) -> Status:
        """Numbers for people."""
        return await self._asker.ask("status", msg.StatusCall(digest=with_digest, room=with_room), Status)

    @asynccontextmanager
    async def request(self, name: str) -> AsyncIterator[str]:
        """A request for the length of a block: released as finished at its end, or as aborted if it raises."""
        reason: ReleaseReason = "aborted"
        try:
            yield name
            reason = "finished"
        finally:
            with suppress(UnknownRequest):  # it never asked for anything
                await self.release(name, reason=reason)

    async def close(self) -> None:
        """Disconnect. Requests that were not released are, when the lease runs out."""
        if self._renewing:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewing
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _head(self, *, durable: bool = True) -> dict[str, Any]:
        self._number += 1
        return {"client": self.client, "number": self._number, "epoch": self._epoch, "durable": durable}

    async def _ask(
        self, verb: msg.Verb, call: msg.Call, kind: type[A], wait_s: float = 0.0, *, at_once: bool = False
    ) -> A:
        answer = await self._asker.ask(verb, call, kind, wait_s=wait_s, at_once=at_once)
        self._epoch = max(self._epoch, answer.epoch)
        return answer

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 3)
            with suppress(KvbmError):  # the next question of the user's says so, if it lasts
                await self._renew()

    async def _renew(self, *, at_once: bool = False) -> None:
        """Renew the lease; after the service was restarted, tell it which requests are this client's."""
        answer = await self._ask("renew", msg.RenewCall(**self._head()), msg.RenewAnswer, at_once=at_once)
        self.lease_s = answer.lease_s
        if answer.epoch == self._claimed_epoch:
            return
        names = sorted(self._requests)
        for start in range(0, len(names), msg.MAX_CLAIMED):
            part = names[start : start + msg.MAX_CLAIMED]
            claim = await self._ask("renew", msg.RenewCall(**self._head(), requests=part), msg.RenewAnswer)
            self._requests.difference_update(claim.lost)
        self._claimed_epoch = answer.epoch
