"""Transfers as their events tell them: under way, and over not long ago."""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

from msgspec import Struct, structs

from kvbm_events.schema import Opened, TierName, TransferCompleted, TransferFailed, TransferStarted, total

OVER_MAX = 512
"""Transfers that are over and still known."""
OPEN_MAX = 65_536
"""Transfers under way that are known; of more, the oldest are forgotten."""


class Move(Struct, kw_only=True):
    """One transfer. Times are the owner's; `ended_us` is 0 while it is under way.

    :ivar writer: whose objects they are, if another instance's
    :ivar source: empty where it began before anybody looked, and so are `request`, `seq` and `begun_us`
    :ivar doubtful: blocks that failed and whose mover may still write
    :ivar reason: why blocks failed, the last one
    """

    instance: str
    transfer: str
    source: TierName | Literal[""] = ""
    writer: str = ""
    tier: TierName
    blocks: int
    request: str = ""
    seq: int = 0
    begun_us: int = 0
    ended_us: int = 0
    arrived: int = 0
    failed: int = 0
    doubtful: int = 0
    size_bytes: int = 0
    reason: str = ""

    @property
    def is_moving(self) -> bool:
        """Whether blocks have neither arrived nor failed."""
        return self.arrived + self.failed < self.blocks

    @property
    def path(self) -> str:
        """`g1>g2`, as figures are headed."""
        return f"{self.source or '?'}>{self.tier}"

    def took_us(self, now_us: int) -> int:
        """How long it took, or has taken until now; 0 where its beginning is unknown."""
        return max(0, (self.ended_us or now_us) - self.begun_us) if self.begun_us else 0


class Step(NamedTuple):
    """What one event said of a transfer: blocks that arrived in `size_bytes`, that failed, and whether it was the last."""

    source: TierName | Literal[""]
    tier: TierName
    arrived: int
    failed: int
    size_bytes: int
    is_over: bool


class Moves:
    """See the module. Events of an instance are to come in their order."""

    def __init__(self) -> None:
        self.over: deque[Move] = deque(maxlen=OVER_MAX)
        self._open: dict[tuple[str, str], Move] = {}

    @property
    def in_flight(self) -> int:
        """Transfers under way; one that has only blocks in quarantine left is not."""
        return sum(move.is_moving for move in self._open.values())

    @property
    def under_way(self) -> list[Move]:
        """Those that are not over."""
        return list(self._open.values())

    def begin(self, instance: str, seq: int, event: TransferStarted) -> None:
        """A batch began its way."""
        if len(self._open) >= OPEN_MAX:
            del self._open[next(iter(self._open))]
        self._open[instance, event.transfer] = Move(
            instance=instance,
            transfer=event.transfer,
            source=event.source,
            writer=event.writer,
            tier=event.tier,
            blocks=total(event.slots),
            request=event.request,
            seq=seq,
            begun_us=event.at_us,
        )

    def end(self, instance: str, event: TransferCompleted | TransferFailed) -> Step:
        """Blocks arrived or failed."""
        place, size = (instance, event.transfer), total(event.slots)
        known = self._open.get(place)
        move = known or Move(instance=instance, transfer=event.transfer, tier=event.tier, blocks=size)
        arrived = failed = size_bytes = 0
        if isinstance(event, TransferCompleted):
            arrived, size_bytes = size, size * event.length_bytes
        else:
            again = min(size, move.doubtful) if event.stopped else 0
            failed = size - again
            move.doubtful += -again if event.stopped else size
            move.reason = event.reason
        move.arrived, move.failed = move.arrived + arrived, move.failed + failed
        move.size_bytes += size_bytes
        is_over = not (move.is_moving or move.doubtful)
        if is_over:
            move.ended_us = event.at_us
            self.over.append(move)
            self._open.pop(place, None)
        return Step(move.source, move.tier, arrived, failed, size_bytes, is_over)

    def opened(self, instance: str, event: Opened) -> None:
        """A new epoch: nothing arrives any more in a tier that starts empty."""
        for place, move in list(self._open.items()):
            if move.instance == instance and move.tier not in event.kept:
                del self._open[place]

    def slowest(self, now_us: int, since_us: int, count: int) -> list[Move]:
        """Copies of those that took longest, of all under way and of those that ended since then."""
        recent = [move for move in self.over if move.ended_us >= since_us]
        ordered = sorted((*recent, *self._open.values()), key=lambda move: -move.took_us(now_us))
        return [structs.replace(move) for move in ordered[:count]]
