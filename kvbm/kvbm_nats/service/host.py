"""One hosted instance: its owner, its leases, the answers it remembers, and its end.

Rules
1. Once another owner has claimed the instance, nothing more is answered for it: the clients ask again, and whoever has
   it now answers.
2. Whatever else the log refuses is told to the clients; the instance is not hosted any more then either.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from msgspec import Struct, structs

from kvbm_events.log import Log
from kvbm_events.schema.errors import Fenced, KvbmError, UnknownRequest
from kvbm_nats.manager import BlockManager
from kvbm_nats.metrics import Families, Tally
from kvbm_nats.metrics.owner import tell_log, tell_status
from kvbm_nats.service import messages as msg
from kvbm_nats.service.answers import Answers, Reply
from kvbm_nats.service.config import InstanceConfig
from kvbm_nats.service.leases import Leases
from kvbm_nats.service.micro import EndpointPlan, Handler
from kvbm_nats.service.owner import OwnerThread
from kvbm_nats.service.verbs import Verbs
from kvbm_nats.service.wire import decode_call, encode, encode_error
from kvbm_nats.status import Status
from kvbm_nats.workers import WorkerMover
from kvbm_tiers import Mover

C = TypeVar("C", bound=msg.Call)
LogSource = Log | Callable[[], Awaitable[Log]]
"""A log, or what connects to one."""

_logger = structlog.get_logger(__name__)


class InstanceHost:
    """See the module.

    :ivar instance: its name
    """

    def __init__(
        self,
        config: InstanceConfig,
        log: LogSource,
        *,
        lease_s: float,
        on_failed: Callable[[InstanceHost, Exception], None],
        is_reachable: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        mover: Callable[[], Mover] | None = None,
        measured: bool = False,
    ) -> None:
        """Open the instance in a thread of its own; `measured` says that its events are counted, for `measure`."""
        self.instance, self._config = config.name, config
        self._log, self._mover = log, mover
        self._lease_s, self._clock, self._is_reachable = lease_s, clock, is_reachable
        self._leases = Leases(lease_s, (), clock())
        self._turned_at_s = clock()
        self._answers = Answers(clock)
        self._workers: WorkerMover | None = None
        self._tally = Tally(config.name) if measured else None
        self._owner = OwnerThread(
            self.instance,
            self._open_manager,
            every_turn=self._turn,
            on_failed=lambda error: on_failed(self, error),
        )

    async def opened(self) -> int:
        """The epoch, once the instance is recovered and claimed. Raises as `BlockManager.open`."""
        manager = await self._owner.opened()
        _logger.info(
            "instance opened",
            instance=self.instance,
            epoch=manager.state.epoch,
            requests=len(manager.state.requests),
            events_read=manager.recovered.events,
            notes=manager.recovered.notes,
        )
        return manager.state.epoch

    def fence(self, epoch: int) -> None:
        """Another owner says that it has claimed the instance."""
        self._owner.fail(
            Fenced(
                f"{self.instance!r} was claimed by another owner",
                why=f"its epoch is {epoch}",
                hint="stop the other service, or leave the instance to it",
            )
        )

    def endpoints(self) -> list[EndpointPlan]:
        """Where the instance can be asked."""
        verbs = Verbs(self._owner, self._leases, self._clock)
        handlers: dict[msg.Verb, Handler] = {
            "allocate": self._handler(msg.AllocateCall, verbs.allocate),
            "register": self._handler(msg.RegisterCall, verbs.register),
            "match": self._handler(msg.MatchCall, verbs.match),
            "release": self._handler(msg.ReleaseCall, verbs.release),
            "offload": self._handler(msg.OffloadCall, verbs.offload),
            "onboard": self._handler(msg.OnboardCall, verbs.onboard),
            "evict": self._handler(msg.EvictCall, verbs.evict),
            "free": self._handler(msg.FreeCall, verbs.free),
            "renew": self._handler(msg.RenewCall, verbs.renew),
            "status": self._status_handler(),
        }
        return [
            EndpointPlan(verb, msg.subject_of(self.instance, verb), handler, {"instance": self.instance})
            for verb, handler in handlers.items()
        ]

    async def status(self, *, with_digest: bool = False, with_room: bool = False) -> Status:
        """See `BlockManager.status`; and the workers."""

        def look(manager: BlockManager) -> Status:
            return manager.status(with_digest=with_digest, with_room=with_room)

        status = await self._owner.run(look, durable=False)
        return structs.replace(status, workers=self._workers.status()) if self._workers else status

    async def measure(self, families: Families) -> None:
        """Tell Prometheus what the owner answers; where it does not, all that is known without it. Raises as `status`."""
        try:
            tell_status(families, await self.status())
        finally:
            manager = await self._owner.opened()
            epoch, acked_n = manager.acked
            tell_log(families, self.instance, epoch=epoch, acked_n=acked_n, pending=manager.pending)
            if self._tally:
                self._tally.tell(families)

    async def turn(self) -> None:
        """Do what is due by time at once, instead of at the owner's next turn."""
        await self._owner.run(self._turn, durable=False)

    async def close(self) -> None:
        """Write a snapshot and let go of the instance. Raises what keeps it from being written."""

        def save(manager: BlockManager) -> None:
            if self._config.options.snapshot_every:
                manager.snapshot()

        await self._owner.close(save)
        _logger.info("instance closed", instance=self.instance)

    def _open_manager(self) -> BlockManager:
        mover = self._mover() if self._mover else None
        self._workers = mover if isinstance(mover, WorkerMover) else None
        try:
            manager = BlockManager.open(
                self._log,
                self.instance,
                namespace=self._config.namespace,
                tiers=self._config.specs(),
                keep=self._config.keep,
                requests="kept",
                mover=mover,
                options=self._config.options,
                observer=self._tally,
                peers=self._config.peers,
            )
        except BaseException:
            if mover:
                mover.close()
            raise
        self._leases = Leases(self._lease_s, manager.state.requests, self._clock())
        self._turned_at_s = self._clock()
        return manager

    def _turn(self, manager: BlockManager) -> None:
        """In the owner's thread: release what clients left whose leases ran out."""
        now_s = self._clock()
        since_s, self._turned_at_s = now_s - self._turned_at_s, now_s
        if since_s > self._lease_s / 3 or not self._is_reachable():
            self._leases.extend(since_s)
        for client, requests in self._leases.expire(now_s).items():
            for request in requests:
                try:
                    manager.release(request, reason="lease_expired")
                except UnknownRequest:
                    continue
            if requests:
                _logger.warning(
                    "lease expired",
                    instance=self.instance,
                    client=client or "unclaimed since the restart",
                    requests=len(requests),
                )

    def _handler(self, kind: type[C], verb: Callable[[C], Awaitable[Struct]]) -> Handler:
        async def once(data: bytes) -> Reply:
            call = decode_call(data, kind)
            return await self._answers.once(call.client, call.number, lambda: self._reply(verb(call)))

        return lambda data: self._told(once(data))

    def _status_handler(self) -> Handler:
        async def look(data: bytes) -> Reply:
            call = decode_call(data, msg.StatusCall)
            return Reply(encode(await self.status(with_digest=call.digest, with_room=call.room)))

        return lambda data: self._told(look(data))

    async def _reply(self, answer: Awaitable[Struct]) -> Reply:
        """The answer, or a refusal that the state gave: it is as final as an answer."""
        try:
            return Reply(encode(await answer))
        except Fenced:
            raise
        except KvbmError as error:
            return _refusal(error)

    async def _told(self, reply: Awaitable[Reply]) -> Reply | None:
        """The reply, whatever happens; None where nothing may be said."""
        try:
            return await reply
        except Fenced:
            return None
        except KvbmError as error:
            return _refusal(error)
        except Exception as error:
            _logger.exception("a question could not be answered", instance=self.instance)
            return _refusal(error)


def _refusal(error: Exception) -> Reply:
    code, body = encode_error(error)
    return Reply(body, code)
