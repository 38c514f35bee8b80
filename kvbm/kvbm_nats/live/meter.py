"""Events in, figures out: no clock, no NATS; the times are given by who uses it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from kvbm_events.schema import (
    AnyEvent,
    Attached,
    Matched,
    Opened,
    TierName,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
)
from kvbm_nats.live.counts import Counts
from kvbm_nats.live.moves import Moves
from kvbm_nats.live.sample import Sample

LOOK_UPS_MAX = 256
"""Look-ups that are known, the newest ones."""
SHORTEST_S = 1e-3
"""An interval, however a clock is set back."""


class Numbered(Struct, frozen=True):
    """An event and where it stands."""

    instance: str
    seq: int
    event: AnyEvent


class Asked(Struct, frozen=True, kw_only=True):
    """A look-up: of so many blocks, and what was found in each tier."""

    instance: str
    request: str
    seq: int
    at_us: int
    asked: int
    found: dict[TierName, int]

    @property
    def missed(self) -> int:
        """Blocks that were found nowhere."""
        return self.asked - sum(self.found.values())


class Owners(Struct, frozen=True, kw_only=True):
    """What services and the log itself said last. None where nobody did."""

    instances: frozenset[str] = frozenset()
    waiting: int | None = None
    dropped: dict[str, int] | None = None
    unstored: int | None = None
    lag: int | None = None


class Meter:
    """See the module.

    :ivar moves: transfers
    :ivar look_ups: the newest ones, oldest first
    :ivar holders: by instance and rank, who told last that it has the rank's memory
    """

    def __init__(self, now_us: int) -> None:
        self.moves = Moves()
        self.look_ups: deque[Asked] = deque(maxlen=LOOK_UPS_MAX)
        self.holders: dict[tuple[str, int], str] = {}
        self._counts, self._since_us = Counts(), now_us
        self._instances: set[str] = set()

    def take(self, numbered: Numbered) -> None:
        """Count an event into the present interval."""
        instance, seq, event = numbered.instance, numbered.seq, numbered.event
        self._instances.add(instance)
        self._counts.take(event)
        match event:
            case Matched():
                found: dict[TierName, int] = {part.tier: part.blocks for part in event.found}
                self.look_ups.append(
                    Asked(
                        instance=instance,
                        request=event.request,
                        seq=seq,
                        at_us=event.at_us,
                        asked=event.asked,
                        found=found,
                    )
                )
            case TransferStarted():
                self.moves.begin(instance, seq, event)
            case TransferCompleted() | TransferFailed():
                self._counts.moved(self.moves.end(instance, event))
            case Opened():
                self.moves.opened(instance, event)
            case Attached():
                self.holders[instance, event.rank] = event.holder
            case _:
                pass

    def pass_over(self, entries: int) -> None:
        """Entries that are no events for a reader."""
        self._counts.unread += entries

    def sample(self, now_us: int, owners: Owners = Owners(), away: str = "") -> Sample:  # noqa: B008 - frozen
        """End the interval, and begin the next."""
        counts, since_us = self._counts, self._since_us
        self._counts, self._since_us = Counts(), now_us
        return Sample(
            at_us=now_us,
            interval_s=max(SHORTEST_S, (now_us - since_us) / 1e6),
            instances=sorted(self._instances | owners.instances),
            away=away,
            events=counts.events,
            look_ups=counts.look_ups,
            asked=counts.asked,
            found=dict(sorted(counts.found.items())),
            hit_ratio=counts.found.total() / counts.asked if counts.asked else None,
            tiers=counts.tiers(),
            evicted=dict(sorted(counts.evicted.items())),
            paths=counts.paths(),
            in_flight=self.moves.in_flight,
            waiting=owners.waiting,
            dropped=owners.dropped,
            unstored=owners.unstored,
            lag=owners.lag,
            unread=counts.unread,
        )


def past_samples(meter: Meter, events: Iterable[Numbered], *, from_us: int, to_us: int, every_us: int) -> list[Sample]:
    """What the meter would have given at every step from `from_us` to `to_us`, by the times of the events.

    Events before `from_us` are taken too, for what they say of transfers and look-ups.
    """
    samples: list[Sample] = []
    end_us = from_us
    for numbered in events:
        while numbered.event.at_us >= end_us and end_us <= to_us:
            samples.append(meter.sample(end_us))
            end_us += every_us
        meter.take(numbered)
    while end_us <= to_us:
        samples.append(meter.sample(end_us))
        end_us += every_us
    meter.sample(to_us)  # what is left of the past is not the present's
    return samples[1:]
