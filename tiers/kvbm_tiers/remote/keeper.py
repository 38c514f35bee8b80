"""What keeps a remote memory reachable: the claim, the heartbeat, and one session after the other.

A session that breaks, or whose host falls silent, is ended here at once, and the next one is asked for until there is one.
What the ended one had under way is *in doubt* until it is known that nobody writes it any more:

* when the host has answered the next `Connect`, or refuses this user: it has ended the session on its side;
* when its process was on this machine and is gone, since the agent here has ended too;
* here, but not at the host, when it is on another machine: the end of the agent here closed its way in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import structlog
from msgspec import Struct, structs

from kvbm_events.jetstream import Options
from kvbm_events.schema.errors import KvbmError
from kvbm_tiers.errors import MemoryUnavailable, StoreBusy
from kvbm_tiers.memory import anonymous
from kvbm_tiers.nixl_agent import NixlTransferFailed
from kvbm_tiers.remote.doubts import Doubts
from kvbm_tiers.remote.line import RETRY_PAUSE_S, Line
from kvbm_tiers.remote.messages import Claim, Claimed, Connect, Connected, Release, Released
from kvbm_tiers.remote.processes import Neighbour
from kvbm_tiers.remote.pusher import Pusher
from kvbm_tiers.remote.session import Session

CONNECT_TIMEOUT_S = 3.0
GOODBYE_TIMEOUT_S = 2.0
_logger = structlog.get_logger(__name__)


class LinkOptions(Struct, frozen=True, kw_only=True):
    """How a user of remote memory behaves.

    :ivar heartbeat_s: how often it asks whether the host lives, and says that it does
    :ivar dead_after_s: silence after which all that is under way has failed
    :ivar stuck_after_s: how long nothing may arrive, with a host that answers, before the next session is made
    :ivar patience_s: how long to wait at the beginning for a host, or for the end of its holder
    :ivar connection: to the NATS server
    """

    heartbeat_s: float = 1.0
    dead_after_s: float = 10.0
    stuck_after_s: float = 30.0
    patience_s: float = 15.0
    connection: Options = Options(name="kvbm remote memory", patience_s=10.0)


class Lent(NamedTuple):
    """Memory of this process for sessions to register: what is there, and bounces to make."""

    memories: list[memoryview]
    bounce_sizes: list[int]


class Keeper:
    """See the module. Lives on the event loop of its line."""

    def __init__(self, line: Line, claim: Claim, options: LinkOptions, doubts: Doubts) -> None:
        self._line, self._claim, self._options, self._doubts = line, claim, options, doubts
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._number = 0
        self._stop = ""

    def interrupt(self, why: str) -> None:
        """Let `watch` end for this reason."""
        self._stop = why
        self._wake.set()

    async def claim(self) -> Claimed:
        """Claim the memory for the first time, waiting as long as patience lasts.

        Raises:
            MemoryUnavailable: no memory host of this name answers.
            NamespaceMismatch: it keeps blocks of another namespace, layout or capacity; the message names the field.
            StoreBusy: another one has claimed it.
        """
        give_up_at = self._loop.time() + self._options.patience_s
        while True:
            left_s = max(0.1, give_up_at - self._loop.time())
            try:
                claimed = await self._line.ask("claim", self._claim, Claimed, timeout_s=left_s)
            except StoreBusy:
                if self._loop.time() >= give_up_at:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                self._claim = structs.replace(
                    self._claim, reset=False
                )  # a host that is started again must not do it again
                self._host, self._neighbour = claimed.host, Neighbour(claimed.process)
                self._contents = claimed.opening.incarnation
                return claimed

    async def open_session(self, lent: Lent, despair: Callable[[KvbmError], None]) -> Session | None:
        """The next session, however long it takes; None if it is interrupted before.

        Args:
            lent: what it registers
            despair: is told why there is none for now

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
        """
        self._number += 1
        bounces = [anonymous(size) for size in lent.bounce_sizes]
        name = f"{self._claim.holder}.{self._number}"
        pusher = await asyncio.to_thread(Pusher, name, [*lent.memories, *bounces])
        session = None
        try:
            while not self._stop and not session:
                try:
                    connected = await self._connect(pusher)
                except MemoryUnavailable as error:
                    self._settle(is_answered=False)
                    if self._is_silent:
                        despair(error)
                    await self._pause(RETRY_PAUSE_S)
                except KvbmError as error:
                    self._settle(is_answered=True)
                    despair(error)
                    await self._pause(self._options.heartbeat_s)
                else:
                    self._settle(is_answered=True)
                    layout, broke = self._claim.layout, self._wake.set
                    session = Session(self._number, connected, layout, self._line, pusher, bounces, broke)
            return session
        finally:
            if not session:
                await asyncio.to_thread(pusher.end)

    async def watch(self, session: Session | None) -> str:
        """Beat until the session must end, or `interrupt`; why."""
        while not self._stop:
            if session and (why := session.why or self._why_stuck(session)):
                return self._lost(why)
            try:
                claimed = await self._line.ask("claim", self._claim, Claimed, timeout_s=self._options.heartbeat_s)
            except MemoryUnavailable as error:
                if session and self._is_silent:
                    return self._lost(f"it is silent for {self._options.dead_after_s:g} s: {error.why}")
            except KvbmError as error:
                if session:
                    return self._lost(str(error))
            else:
                if session and claimed.session != session.id:
                    return self._lost("it ended the session" if claimed.host == self._host else "it was started again")
            await self._pause(self._options.heartbeat_s)
        why, self._stop = self._stop, ""
        return why

    async def end(self, session: Session, why: str) -> None:
        """End a session on this side."""
        await asyncio.to_thread(session.end, why)

    async def say_goodbye(self) -> bool:
        """Let the memory go; whether it is sure that the host writes here no more."""
        with suppress(KvbmError):
            question = Release(holder=self._claim.holder)
            await self._line.ask("release", question, Released, timeout_s=GOODBYE_TIMEOUT_S)
            return True
        return self._is_harmless

    @property
    def _is_silent(self) -> bool:
        return self._line.silent_s > self._options.dead_after_s

    @property
    def _is_harmless(self) -> bool:
        """Whether a host that does not answer cannot write here once the agent has ended."""
        return not self._neighbour.is_here or self._neighbour.is_gone

    async def _connect(self, pusher: Pusher) -> Connected:
        claimed = await self._line.ask("claim", self._claim, Claimed, timeout_s=self._options.heartbeat_s)
        question = Connect(holder=self._claim.holder, agent=pusher.metadata)
        connected = await self._line.ask("connect", question, Connected, timeout_s=CONNECT_TIMEOUT_S)
        try:
            await asyncio.wrap_future(pusher.meet(connected.agent))
        except NixlTransferFailed as error:
            raise MemoryUnavailable(
                "the memory host's agent cannot be met", why=str(error), hint="bring both to the same version of NIXL"
            ) from error
        self._remember(claimed)
        return connected

    def _remember(self, claimed: Claimed) -> None:
        if claimed.host != self._host:
            self._neighbour.forget()
            self._host, self._neighbour = claimed.host, Neighbour(claimed.process)
        if claimed.opening.incarnation != self._contents:
            _logger.warning("a remote memory came back with other contents: its blocks are lost", name=self._line.name)
            self._contents = claimed.opening.incarnation

    def _settle(self, *, is_answered: bool) -> None:
        """Tell who waits for it that nothing of the sessions before this one is written any more, where that is known."""
        if is_answered or self._neighbour.is_gone:
            self._doubts.settle(self._number - 1, here=False)
        if is_answered or self._is_harmless:
            self._doubts.settle(self._number - 1, here=True)

    def _lost(self, why: str) -> str:
        _logger.warning("a session with a memory host is lost", name=self._line.name, why=why)
        return why

    def _why_stuck(self, session: Session) -> str:
        limit_s = self._options.stuck_after_s
        return f"nothing arrived for {limit_s:g} s" if session.stuck_s > limit_s else ""

    async def _pause(self, timeout_s: float) -> None:
        """Wait, or until something happens."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        self._wake.clear()
