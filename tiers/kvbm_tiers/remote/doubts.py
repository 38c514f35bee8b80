"""What may still be written after its session ended, and who waits to know that it is not."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import NamedTuple


class _Doubt(NamedTuple):
    session: int
    is_here: bool
    settled: Callable[[], None]


class Doubts:
    """By session and side: `here` is what the host writes into this process, the rest what this process wrote to the host.

    Any thread may call.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._settled = {True: 0, False: 0}  # by side: all sessions up to this one
        self._open: list[_Doubt] = []

    def add(self, session: int, settled: Callable[[], None], *, here: bool) -> None:
        """Call `settled` once nothing of this session is written on this side; at once if that is known."""
        with self._lock:
            is_open = session > self._settled[here]
            if is_open:
                self._open.append(_Doubt(session, here, settled))
        if not is_open:
            settled()

    def settle(self, session: int, *, here: bool) -> None:
        """Nothing of the sessions up to this one is written on this side any more."""
        with self._lock:
            self._settled[here] = max(session, self._settled[here])
            over = [doubt for doubt in self._open if doubt.session <= self._settled[doubt.is_here]]
            self._open = [doubt for doubt in self._open if doubt.session > self._settled[doubt.is_here]]
        for doubt in over:
            doubt.settled()
