"""An agent and the thread that owns it: what is to be pushed goes in, and a future tells how it went.

Between two processes of one machine a push is a copy within one call, so this thread may be busy for long, and nobody
else is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import NamedTuple

from kvbm_tiers.memory import address_of
from kvbm_tiers.nixl_agent import Far, Handle, NixlTransferFailed
from kvbm_tiers.remote.ucx_agent import UcxAgent

POLL_MIN_S, POLL_MAX_S = 50e-6, 200e-6


class PusherEnded(Exception):
    """The agent ended before the push did: whether it arrived is not known."""


class _Order(NamedTuple):
    begin: Callable[[UcxAgent], Handle | None]
    done: Future[None]


class Pusher:
    """See the module. Any thread may call. It has one peer.

    :ivar metadata: what the peer needs to reach this memory
    """

    def __init__(self, name: str, memories: list[memoryview]) -> None:
        """Start the thread, and make the agent. The list is the pusher's own: it keeps the memory until `end`.

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
        """
        self._memories = memories
        self._orders = SimpleQueue[_Order | None]()
        self._closing, self._is_ended = Lock(), False
        started = Future[bytes]()
        self._thread = Thread(target=self._own, args=(name, started), name="ucx-owner", daemon=True)
        self._thread.start()
        self.metadata = started.result()

    def meet(self, metadata: bytes) -> Future[None]:
        """Get to know the peer. Fails with NixlTransferFailed."""
        return self._order(lambda agent: agent.meet(metadata))

    def push(self, mine: Sequence[int], theirs: Sequence[int], size: int) -> Future[None]:
        """Write `size` bytes at each of these addresses to the peer's. Fails with NixlTransferFailed or PusherEnded."""
        rows, far = [(address, size, 0) for address in mine], [Far(address, size) for address in theirs]
        return self._order(lambda agent: agent.post("WRITE", rows, far))

    def end(self) -> None:
        """End the agent. When this returns it neither reads nor writes, and what the peer sends does not land."""
        self._orders.put(None)
        self._thread.join()
        self._memories.clear()

    def _order(self, begin: Callable[[UcxAgent], Handle | None]) -> Future[None]:
        done = Future[None]()
        with self._closing:
            if self._is_ended:
                done.set_exception(PusherEnded())
            else:
                self._orders.put(_Order(begin, done))
        return done

    def _own(self, name: str, started: Future[bytes]) -> None:
        try:
            agent = UcxAgent(name, [(address_of(memory), len(memory), 0) for memory in self._memories])
        except BaseException as error:  # noqa: BLE001 - whoever starts the pusher is told
            self._memories.clear()  # the error's traceback would keep them mapped, and their files locked
            started.set_exception(error)
            return
        started.set_result(agent.metadata)
        flying = list[tuple[Future[None], Handle]]()
        pause_s = POLL_MIN_S
        while self._begin(agent, flying):
            before = len(flying)
            flying = [(done, handle) for done, handle in flying if not _advance(agent, done, handle)]
            pause_s = POLL_MIN_S if len(flying) < before else min(POLL_MAX_S, pause_s * 1.5)
            if flying:
                time.sleep(pause_s)
        agent.end(handle for _, handle in flying)
        for done in (*(done for done, _ in flying), *self._never_begun()):
            done.set_exception(PusherEnded())

    def _begin(self, agent: UcxAgent, flying: list[tuple[Future[None], Handle]]) -> bool:
        """Begin what is ordered, waiting for it if nothing is under way; whether to go on."""
        try:
            while order := self._orders.get(block=not flying):
                if not order.done.set_running_or_notify_cancel():
                    continue
                try:
                    handle = order.begin(agent)
                except NixlTransferFailed as error:
                    order.done.set_exception(error)
                    continue
                if handle is None:
                    order.done.set_result(None)
                else:
                    flying.append((order.done, handle))
        except Empty:
            return True
        return False

    def _never_begun(self) -> list[Future[None]]:
        with self._closing:
            self._is_ended = True
        left = list[Future[None]]()
        while not self._orders.empty():
            order = self._orders.get()
            if order and order.done.set_running_or_notify_cancel():
                left.append(order.done)
        return left


def _advance(agent: UcxAgent, done: Future[None], handle: Handle) -> bool:
    """Whether the transfer is over, which its future is then told."""
    try:
        if not agent.is_over(handle):
            return False
    except NixlTransferFailed as error:
        agent.release(handle)
        done.set_exception(error)
    else:
        agent.release(handle)
        done.set_result(None)
    return True
