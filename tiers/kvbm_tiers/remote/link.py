"""The user's side of one remote memory, for any thread: its session, and what is in doubt of those before."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Condition, Thread

import structlog

from kvbm_events.jetstream.connection import Connection
from kvbm_events.schema.errors import KvbmError
from kvbm_tiers.errors import MemoryUnavailable
from kvbm_tiers.layout import Layout
from kvbm_tiers.remote.doubts import Doubts
from kvbm_tiers.remote.keeper import Keeper, Lent, LinkOptions
from kvbm_tiers.remote.line import Line
from kvbm_tiers.remote.messages import Claim, Claimed
from kvbm_tiers.remote.processes import this_process
from kvbm_tiers.remote.session import Session

_logger = structlog.get_logger(__name__)
_parked: list[object] = []
"""Memory that a host on this machine, unheard at the end, may still write to: let go of, it would become something else."""


class Link:
    """See the module. The claim and the heartbeat are kept by a thread of its own.

    :ivar claimed: what the host said at first
    :ivar doubts: of sessions that ended
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        namespace: str,
        layout: Layout,
        capacity: int,
        reset: bool,
        options: LinkOptions,
    ) -> None:
        """Claim the memory.

        Raises:
            LogUnavailable: no NATS server answers.
            MemoryUnavailable, NamespaceMismatch, StoreBusy: see `Keeper.claim`.
        """
        self.doubts = Doubts()
        self._name, self._options = name, options
        self._claim = Claim(
            holder=secrets.token_hex(8),
            process=this_process(),
            namespace=namespace,
            layout=layout,
            capacity=capacity,
            reset=reset,
        )
        self._changed, self._is_closed = Condition(), False
        self._session: Session | None = None
        self._trouble: KvbmError | None = None  # why there is no session, and none to be waited for
        self._lent: Lent | None = None
        ready = Future[Claimed]()
        self._thread = Thread(target=self._run, args=(url, ready), name=f"remote-{name}", daemon=True)
        self._thread.start()
        self.claimed = ready.result()

    def connect(self, memories: Sequence[memoryview], bounce_sizes: Sequence[int]) -> None:
        """Have sessions in which these memories are registered, and bounces of these sizes, and wait for the first one.

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
            MemoryUnavailable: the host went away.
        """
        with self._changed:
            self._lent = Lent([*memories], [*bounce_sizes])
        self._become(None)
        self._interrupt("it is to register other memory")
        self.session()

    def session(self) -> Session:
        """The session, or the next one where one has just broken. Waits for it, unless the host is known to be away.

        Raises:
            KvbmError: why there is none.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._session or self._trouble)
            if self._session:
                return self._session
            raise self._trouble or MemoryUnavailable(self._name)

    def close(self) -> None:
        """Let the memory go. Whoever waits for a session is told."""
        with self._changed:
            self._is_closed = True
        self._become(None, MemoryUnavailable(f"the remote memory {self._name!r} is closed here"))
        self._interrupt("it is closed here")
        self._thread.join()
        if self._lent:
            self._lent.memories.clear()  # for as long as they are mapped, their files are locked

    def _become(self, session: Session | None, trouble: KvbmError | None = None) -> None:
        with self._changed:
            self._session, self._trouble = session, trouble
            self._changed.notify_all()

    def _despair(self, trouble: KvbmError) -> None:
        with self._changed:
            if not self._is_closed:
                self._become(None, trouble)

    def _interrupt(self, why: str) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._keeper.interrupt, why)

    def _run(self, url: str, ready: Future[Claimed]) -> None:
        try:
            asyncio.run(self._live(url, ready))
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)
                return
            if not isinstance(error, KvbmError):
                _logger.exception("the link to a memory host failed", name=self._name)
                error = MemoryUnavailable(f"the link to {self._name!r} failed", why=repr(error))
            self._despair(error)

    async def _live(self, url: str, ready: Future[Claimed]) -> None:
        self._loop = asyncio.get_running_loop()
        connection = await Connection.open(url, self._options.connection)
        try:
            self._keeper = Keeper(Line(connection, self._name), self._claim, self._options, self.doubts)
            ready.set_result(await self._keeper.claim())
            try:
                while not self._is_closed:
                    await self._live_session()
            finally:
                await self._let_go()
        finally:
            await connection.close()

    async def _let_go(self) -> None:
        if not await self._keeper.say_goodbye() and self._lent:
            _parked.append(([*self._lent.memories], self.doubts))
            _logger.warning("a memory host does not answer; the memory that it may write to is kept", name=self._name)

    async def _live_session(self) -> None:
        """One session, from its beginning to its end."""
        lent = self._lent
        session = await self._keeper.open_session(lent, self._despair) if lent else None
        with self._changed:
            if lent is self._lent and not self._is_closed:
                self._become(session)
        why = "its link failed"
        try:
            why = await self._keeper.watch(session)
        finally:
            if session:
                with self._changed:
                    if self._session is session:
                        self._become(None)
                await self._keeper.end(session, why)
