"""Who has a remote memory: one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from kvbm_tiers.errors import StoreBusy
from kvbm_tiers.remote.processes import Neighbour, ProcessName


class Lease:
    """From a holder's claim until it lets go, its process ends, or it is not heard for too long.

    A process of this machine is never given up while it lives, be it stopped: UCX lets it write here without us.

    :ivar holder: who has the memory; empty if nobody has
    """

    def __init__(self, lease_s: float, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self.holder = ""
        self._lease_s, self._now_s = lease_s, now_s
        self._heard_s = 0.0
        self._process: Neighbour | None = None

    def take(self, holder: str, process: ProcessName) -> bool:
        """Let this one have it, or have it for longer; whether another one had it, or nobody.

        Raises:
            StoreBusy: another one has it.
        """
        is_new = holder != self.holder
        if is_new:
            if self.holder and (why := self._why_held()):
                raise StoreBusy("this memory is in use", why=why, hint="end its holder, or wait for its lease to end")
            self.drop()
            self.holder, self._process = holder, Neighbour(process)
        self._heard_s = self._now_s()
        return is_new

    def drop(self) -> None:
        """Nobody has it."""
        if self._process:
            self._process.forget()
        self.holder, self._process = "", None

    def _why_held(self) -> str:
        """Why its holder may still write; empty if it does not."""
        silent_s = self._now_s() - self._heard_s
        if self._process and self._process.is_here:
            return (
                "" if self._process.is_gone else f"its holder is a process of this machine; heard {silent_s:.0f} s ago"
            )
        return f"its holder was heard {silent_s:.0f} s ago" if silent_s < self._lease_s else ""
