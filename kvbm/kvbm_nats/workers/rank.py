"""One rank as an owner knows it: which incarnation of its worker speaks, what it has seen, and when it was heard."""

from __future__ import annotations

from kvbm_nats.status import WorkerStatus
from kvbm_tiers.reports import Heartbeat, Hello, Place

INCARNATIONS_REMEMBERED = 64
_ALL: Place = (1 << 62, 0)


class Rank:
    """See the module.

    :ivar incarnation: of the worker that counts; empty before the first
    :ivar hello: what it said of itself
    :ivar heard_s: when it was last heard, or the owner began to listen
    :ivar refused: why the last worker that came could not be taken; empty if it could
    :ivar last_words: why it is over; empty while it is not
    """

    def __init__(self, number: int, now_s: float) -> None:
        self.number = number
        self.incarnation = self.refused = self.last_words = ""
        self.hello: Hello | None = None
        self.heard_s = now_s
        self._past: dict[str, None] = {}
        self._seen: Place = (0, 0)
        self._unfinished: frozenset[str] = frozenset()

    def welcome(self, hello: Hello) -> bool:
        """The worker that counts from now on; false for one that another has followed."""
        if hello.incarnation in self._past:
            return False
        if hello.incarnation != self.incarnation:
            self._past[self.incarnation] = None
            while len(self._past) > INCARNATIONS_REMEMBERED:
                del self._past[next(iter(self._past))]
            self.incarnation, self.last_words = hello.incarnation, ""
            self._seen, self._unfinished = (0, 0), frozenset()
        self.hello = hello
        return True

    def heard(self, now_s: float) -> None:
        """It spoke just now."""
        self.heard_s = now_s

    def note(self, message: Hello | Heartbeat) -> None:
        """What it has seen and not finished. Of what comes late the older is passed over."""
        if message.seen >= self._seen:
            self._seen, self._unfinished = message.seen, frozenset(message.unfinished)
        if isinstance(message, Heartbeat) and message.ended:
            self.last_words = f"rank {self.number} ended"

    def silent_s(self, now_s: float) -> float:
        """For how long it has said nothing."""
        return now_s - self.heard_s

    def status(self, now_s: float) -> WorkerStatus:
        """It in numbers, for people."""
        return WorkerStatus(
            rank=self.number,
            incarnation=self.incarnation,
            silent_s=self.silent_s(now_s),
            refused=self.refused,
            ended=bool(self.last_words),
        )

    def is_done_with(self, transfer: str, place: Place) -> bool:
        """Whether it writes no more to the slots of a transfer."""
        return place <= (_ALL if self.last_words else self._seen) and transfer not in self._unfinished
