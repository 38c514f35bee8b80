"""A session at its user: an agent over the memory here, and what goes between it and the memory of the host."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import Any, TypeVar

from msgspec import Struct

from kvbm_tiers.errors import SessionOver
from kvbm_tiers.layout import Layout
from kvbm_tiers.nixl_agent import NixlTransferFailed
from kvbm_tiers.remote.line import Line
from kvbm_tiers.remote.messages import Connected, Proof, Prove, Push, Pushed, Verb
from kvbm_tiers.remote.pusher import Pusher, PusherEnded

_DIGITS = 16  # of a checksum

T = TypeVar("T")
S = TypeVar("S", bound=Struct)


class Session:
    """See the module. `push`, `pull` and `prove` are for any thread, and wait for their end.

    :ivar number: of this one among those of its link
    :ivar id: of the session, as the host named it
    :ivar bounces: memory of the agent's, free to use
    :ivar why: it must end, or has ended; empty as long as all is well
    """

    def __init__(
        self,
        number: int,
        connected: Connected,
        layout: Layout,
        line: Line,
        pusher: Pusher,
        bounces: Sequence[memoryview],
        broke: Callable[[], None],
    ) -> None:
        """Made on the event loop of the line; `broke` is called there when something failed."""
        self.number, self.id, self.bounces, self.why = number, connected.session, bounces, ""
        self._broke = broke
        self._address, self._layout, self._line, self._pusher = connected.address, layout, line, pusher
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._lock, self._is_ended = Lock(), False
        self._waiting: dict[Future[Any], float] = {}
        self._moved_s = time.monotonic()

    @property
    def stuck_s(self) -> float:
        """For how long something has been waited for while nothing came to its end."""
        with self._lock:
            since_s = min(self._waiting.values(), default=time.monotonic())
            return time.monotonic() - max(since_s, self._moved_s)

    def push(self, slots: Sequence[int], addresses: Sequence[int]) -> None:
        """Write blocks at these addresses into slots of the host.

        Raises:
            SessionOver: they may or may not be there, and may be written yet.
        """
        theirs = [self._address + slot * self._layout.slot_bytes for slot in slots]
        self._wait(self._pusher.push(addresses, theirs, self._layout.block_bytes))

    def pull(self, slots: Sequence[int], addresses: Sequence[int]) -> None:
        """Let the host write its slots to these addresses.

        Raises:
            SessionOver: it may or may not have done so, and may do so yet.
        """
        number = next(self._numbers)
        self._ask("push", Push(session=self.id, number=number, slots=[*slots], addresses=[*addresses]), Pushed)

    def prove(self, slots: Sequence[int]) -> list[str]:
        """The checksums of what is in slots of the host. Raises SessionOver."""
        sums = self._ask("prove", Prove(session=self.id, slots=[*slots]), Proof).checksums
        return [sums[at : at + _DIGITS] for at in range(0, _DIGITS * len(slots), _DIGITS)]

    def end(self, why: str) -> None:
        """Give up what is waited for, and end the agent: nothing that comes over a network lands any more."""
        with self._lock:
            self._is_ended, self.why = True, why
            waiting = list(self._waiting)
        for future in waiting:
            future.cancel()
        self._pusher.end()

    def _ask(self, verb: Verb, question: Struct, kind: type[S]) -> S:
        asking = self._line.ask(verb, question, kind)
        try:
            future = asyncio.run_coroutine_threadsafe(asking, self._loop)
        except RuntimeError as error:  # the loop is closed, and so is all that was on it
            asking.close()
            raise SessionOver(f"the session with memory host {self._line.name!r} is over", why=str(error)) from error
        return self._wait(future)

    def _wait(self, future: Future[T]) -> T:
        with self._lock:
            if self._is_ended:
                future.cancel()
            else:
                self._waiting[future] = time.monotonic()
        try:
            return future.result()
        except (CancelledError, PusherEnded) as error:
            raise SessionOver(f"the session with memory host {self._line.name!r} is over", why=self.why) from error
        except (NixlTransferFailed, SessionOver) as error:
            why = error.why if isinstance(error, SessionOver) else f"NIXL: {error}"
            self._loop.call_soon_threadsafe(self._break, why)
            raise SessionOver(f"the session with memory host {self._line.name!r} broke", why=why) from error
        finally:
            with self._lock:
                self._waiting.pop(future, None)
                self._moved_s = time.monotonic()

    def _break(self, why: str) -> None:
        self.why = self.why or why
        self._broke()
