"""A session at its host: an agent over the arena, and what it has been asked to push."""

from __future__ import annotations

import asyncio
import secrets

from kvbm_tiers.errors import SessionOver
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.nixl_agent import NixlTransferFailed
from kvbm_tiers.remote.messages import Push
from kvbm_tiers.remote.pusher import Pusher, PusherEnded

REMEMBERED_MAX = 4096
"""Pushes that are known when they are asked for again; those under way at a time are far fewer."""


class HostSession:
    """See the module. Made and ended in threads that may block, else used on the host's event loop.

    :ivar id: of the session
    :ivar agent: the holder's metadata that it was made with
    :ivar metadata: the host's
    """

    def __init__(self, name: str, arena: HostArena, agent: bytes) -> None:
        """Make the agent, and get to know the holder's.

        Raises:
            NixlUnavailable: it does not start.
            NixlTransferFailed: the holder's metadata are no agent's.
        """
        self.id, self.agent = secrets.token_hex(8), agent
        self._arena = arena
        self._pusher = Pusher(f"{name}.{self.id}", [arena.memory])
        self.metadata = self._pusher.metadata
        self._pushes: dict[int, asyncio.Task[None]] = {}
        try:
            self._pusher.meet(agent).result()
        except BaseException:
            self._pusher.end()
            raise

    async def push(self, question: Push) -> None:
        """Do it once, however often it is asked for.

        Raises:
            SessionOver: it did not arrive.
        """
        task = self._pushes.get(question.number)
        if task is None:
            task = self._pushes[question.number] = asyncio.create_task(self._push(question))
            while len(self._pushes) > REMEMBERED_MAX:
                del self._pushes[next(iter(self._pushes))]
        await asyncio.shield(task)

    def end(self) -> None:
        """When this returns, nothing of the session reads or writes the arena, but what a holder on this machine does."""
        self._pusher.end()

    async def _push(self, question: Push) -> None:
        layout = self._arena.layout
        mine = [self._arena.address + slot * layout.slot_bytes for slot in question.slots]
        try:
            await asyncio.wrap_future(self._pusher.push(mine, question.addresses, layout.block_bytes))
        except (NixlTransferFailed, PusherEnded) as error:
            raise SessionOver("a push from the memory host failed", why=str(error) or "the session ended") from error
