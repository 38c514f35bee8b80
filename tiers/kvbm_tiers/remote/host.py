"""The memory host: an arena in shared memory that survives its process, and the agent through which one holder reaches it.

It answers over NATS and moves bytes over UCX: what the holder stores it has pushed here itself, and what it loads is pushed
to it from here. Nothing is decided here, and nothing is known of events.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from xxhash import xxh3_64_hexdigest

from kvbm_events.jetstream import Options
from kvbm_events.jetstream.asking import ask
from kvbm_events.jetstream.connection import Connection
from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.errors import SessionOver, StoreBusy
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.layout import Layout, refuse_other
from kvbm_tiers.nixl_agent import NixlTransferFailed, load_nixl
from kvbm_tiers.remote.host_session import HostSession
from kvbm_tiers.remote.lease import Lease
from kvbm_tiers.remote.messages import (
    Claim,
    Claimed,
    Connect,
    Connected,
    Here,
    Proof,
    Prove,
    Push,
    Pushed,
    Release,
    Released,
    Who,
    decode_question,
    encode,
    encode_answer,
    subject_of,
)
from kvbm_tiers.remote.processes import this_process
from kvbm_tiers.store import Opening

WHO_TIMEOUT_S = 1.0
QUESTIONS_MAX = 64
"""Answered at a time; more of them wait."""

_logger = structlog.get_logger(__name__)


class MemoryPlan(Struct, frozen=True, kw_only=True):
    """What a memory host keeps.

    :ivar name: where it is asked on NATS
    :ivar folder: where its arena lies, `<name>.arena`
    :ivar capacity: slots
    """

    name: str
    namespace: str
    layout: Layout
    capacity: int
    folder: Path


class HostOptions(Struct, frozen=True, kw_only=True):
    """How a memory host behaves.

    :ivar lease_s: how long its holder may be silent before another one can have the memory
    :ivar connection: to the NATS server
    """

    lease_s: float = 10.0
    connection: Options = Options(name="kvbm memory")


class MemoryHost:
    """Answers the questions about one arena. Lives on an event loop.

    :ivar pushed_bytes: that were sent to its holders
    """

    def __init__(self, plan: MemoryPlan, options: HostOptions) -> None:
        """Open the arena, or make it.

        Raises:
            InvalidCommand: the plan's name cannot be one.
            NixlUnavailable: NIXL is not installed.
            NamespaceMismatch, StoreBusy, StoreFull, StoreDamaged: see `survivor.claim`.
        """
        subject_of(plan.name, "*")
        load_nixl()
        self.incarnation, self.pushed_bytes = secrets.token_hex(8), 0
        self._plan, self._lease = plan, Lease(options.lease_s)
        self._arena = self._open(reset=False)
        self._opening = self._arena.opening
        self._reset_by = ""  # the holder that it was reset for
        self._session: HostSession | None = None
        self._turn = asyncio.Lock()  # of whoever changes holder or session
        self._room = asyncio.Semaphore(QUESTIONS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_held(self) -> bool:
        """Whether somebody has the memory."""
        return bool(self._lease.holder)

    async def answer(self, nc: Client) -> None:
        """Answer from now on.

        Raises:
            StoreBusy: another memory host answers to this name.
        """
        with suppress(NatsError, TimeoutError):  # nobody answers: so the name is free
            await ask(nc, subject_of(self._plan.name, "who"), encode(Who()), timeout_s=WHO_TIMEOUT_S)
            raise StoreBusy(
                f"the memory host {self._plan.name!r} is there already",
                why="it answers on this NATS server",
                hint="end it, or give this one another name",
            )
        await nc.subscribe(subject_of(self._plan.name, "*"), cb=self._take)
        await nc.flush()

    async def close(self) -> None:
        """End the session, and let go of the arena, which stays."""
        async with self._turn:
            await self._end_session()
        self._arena.close()

    async def _take(self, message: Msg) -> None:
        await self._room.acquire()
        task = asyncio.create_task(self._serve(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: Msg) -> None:
        try:
            answer = await self._do(message.subject.rpartition(".")[2], message.data)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            answer = error
            if not isinstance(error, SessionOver):
                _logger.warning("a question was refused", subject=message.subject, why=str(error))
        finally:
            self._room.release()
        with suppress(NatsError):  # the connection went: it is asked again
            await message.respond(encode_answer(answer))

    async def _do(self, verb: str, data: bytes) -> Any:  # noqa: ANN401 - the answer to whatever was asked
        match decode_question(verb, data):
            case Who():
                return Here(host=self.incarnation)
            case Claim() as question:
                return await self._claim(question)
            case Connect() as question:
                return await self._connect(question)
            case Push() as question:
                return await self._push(question)
            case Prove() as question:
                return await self._prove(question)
            case Release() as question:
                return await self._release(question)

    async def _claim(self, question: Claim) -> Claimed:
        plan = self._plan
        refuse_other("namespace", plan.namespace, question.namespace)
        plan.layout.check(question.layout)
        refuse_other("capacity", plan.capacity, question.capacity)
        async with self._turn:
            had = self._lease.holder
            if self._lease.take(question.holder, question.process):
                await self._end_session()
                _logger.info("claimed", name=plan.name, holder=question.holder, before=had)
                if had:  # what a holder before it has left is there
                    self._opening = self._as_kept()
            if question.reset and self._reset_by != question.holder:
                await self._end_session()
                self._arena.close()
                self._arena = self._open(reset=True)
                self._opening, self._reset_by = self._arena.opening, question.holder
            return Claimed(
                host=self.incarnation,
                process=this_process(),
                opening=self._opening,
                session=self._session.id if self._session else "",
            )

    async def _connect(self, question: Connect) -> Connected:
        async with self._turn:
            if question.holder != self._lease.holder:
                raise SessionOver(
                    "this memory is not yours", why="another one claimed it since, or its host was restarted"
                )
            session = self._session
            if session is None or session.agent != question.agent:
                await self._end_session()
                try:
                    session = await asyncio.to_thread(HostSession, self._plan.name, self._arena, question.agent)
                except NixlTransferFailed as error:
                    raise InvalidCommand("these are no agent's metadata", why=str(error)) from error
                self._session = session
                _logger.info("session began", name=self._plan.name, session=session.id)
            return Connected(session=session.id, agent=session.metadata, address=self._arena.address)

    async def _push(self, question: Push) -> Pushed:
        session = self._in_session(question.session, question.slots)
        if len(question.addresses) != len(question.slots):
            raise InvalidCommand("a push has an address for each slot")
        try:
            await session.push(question)
        except SessionOver as error:
            async with self._turn:
                if self._session is session:
                    _logger.warning("session broke", name=self._plan.name, session=session.id, why=error.why)
                    await self._end_session()
            raise
        self.pushed_bytes += len(question.slots) * self._plan.layout.block_bytes
        return Pushed()

    async def _prove(self, question: Prove) -> Proof:
        self._in_session(question.session, question.slots)
        return Proof(checksums=await asyncio.to_thread(self._checksums, question.slots))

    async def _release(self, question: Release) -> Released:
        async with self._turn:
            if question.holder == self._lease.holder:
                await self._end_session()
                self._lease.drop()
                self._opening = self._as_kept()
                _logger.info("released", name=self._plan.name, holder=question.holder)
        return Released()

    def _in_session(self, session: str, slots: Sequence[int]) -> HostSession:
        if self._session is None or self._session.id != session:
            raise SessionOver("the memory host has another session", why="it ended this one, or was restarted")
        if max(slots) >= self._plan.capacity:
            raise InvalidCommand(f"slot {max(slots)} of a memory of {self._plan.capacity}")
        return self._session

    async def _end_session(self) -> None:
        """When this returns, nothing of the session reads or writes the arena, but what a holder on this machine does."""
        session, self._session = self._session, None
        if session:
            await asyncio.to_thread(session.end)

    def _checksums(self, slots: Sequence[int]) -> str:
        size = self._plan.layout.block_bytes
        return "".join(xxh3_64_hexdigest(self._arena.view(slot)[:size]) for slot in slots)

    def _open(self, *, reset: bool) -> HostArena:
        plan = self._plan
        path = plan.folder / f"{plan.name}.arena"
        return HostArena(path, namespace=plan.namespace, layout=plan.layout, capacity=plan.capacity, reset=reset)

    def _as_kept(self) -> Opening:
        why = "a holder before had it, and its host kept it"
        return Opening(state="kept", why=why, incarnation=self._opening.incarnation)


async def keep_memory(
    url: str, plan: MemoryPlan, options: HostOptions, *, is_over: asyncio.Event, on_ready: Callable[[MemoryHost], None]
) -> None:
    """Open an arena and answer for it until it is over.

    Raises:
        LogUnavailable: no NATS server answers.
        StoreBusy: another memory host has the arena, or the name.
        NixlUnavailable: NIXL is not installed.
        InvalidCommand, NamespaceMismatch, StoreFull, StoreDamaged: see `survivor.claim`.
    """
    host = MemoryHost(plan, options)
    try:
        connection = await Connection.open(url, options.connection)
        try:
            await host.answer(connection.nc)
            on_ready(host)
            await is_over.wait()
        finally:
            await connection.close()
    finally:
        await host.close()
