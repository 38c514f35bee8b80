"""The desk at which commands become events: the state, the time that events will carry, and where they go."""

from __future__ import annotations

from collections.abc import Callable

from kvbm_events.schema import AnyEvent
from kvbm_events.schema.errors import InvalidCommand, TooManyRequests
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.evolve import evolve
from kvbm_statemachine.state import MAX_REQUESTS, State

MAX_NAME = 256


class Desk:
    """See the module.

    :ivar now_us: the owner's time in microseconds; the owner sets it before each command
    :ivar sink: gets every event after the state has taken it
    """

    __slots__ = ("now_us", "sink", "state")

    def __init__(self, state: State, sink: Callable[[AnyEvent], None], now_us: int = 0) -> None:
        self.state, self.sink, self.now_us = state, sink, now_us

    def emit(self, event: AnyEvent, columns: Columns | None = None) -> None:
        """Apply an event and pass it on; `columns` are its own, where they are at hand."""
        evolve(self.state, event, columns)
        self.sink(event)

    def check_request(self, name: str) -> None:
        """Whether the request is open or may be opened.

        Raises:
            InvalidCommand: the name is empty, too long, or not to be written in UTF-8.
            TooManyRequests: the limit is reached.
        """
        if name in self.state.requests:
            return
        if not 0 < len(name) <= MAX_NAME or name.encode(errors="ignore").decode() != name:
            raise InvalidCommand(
                f"{name[:80]!r} cannot name a request", why=f"a name is 1 to {MAX_NAME} characters that UTF-8 can write"
            )
        if len(self.state.requests) >= MAX_REQUESTS:
            raise TooManyRequests(
                f"{MAX_REQUESTS} requests are open",
                why="that is the limit of an instance",
                hint="release requests that ended, or let their leases run out",
            )


def check_priority(priority: int) -> None:
    """Raise InvalidCommand unless the priority is 0 to 100."""
    if not 0 <= priority <= 100:  # noqa: PLR2004 - the range is the contract
        raise InvalidCommand(f"priority {priority}", why="priorities go from 0 to 100")
