"""The log as a check sees it: folded up to a moment, and then on, with what was evicted since."""

from __future__ import annotations

from typing import Self

from kvbm_events.log import Log
from kvbm_events.schema import Evicted, Opened, TierName, to_slots
from kvbm_nats.recovery import Recovered, recover
from kvbm_statemachine import State, evolve


class LogView:
    """One instance's.

    :ivar evicted: by tier, slots whose block left since the view was opened
    """

    def __init__(self, log: Log, instance: str, recovered: Recovered) -> None:
        self._log, self._instance, self.recovered = log, instance, recovered
        self.evicted: dict[TierName, set[int]] = {}

    @classmethod
    async def open(cls, log: Log, instance: str) -> Self:
        """Fold the log up to its present end. Raises as `recover`."""
        return cls(log, instance, await recover(log, instance))

    @property
    def state(self) -> State:
        """As of the last event that was read."""
        return self.recovered.state

    async def catch_up(self) -> None:
        """Go on to the log's present end. Raises as `recover`."""
        recovered, last = self.recovered, await self._log.last_seq(self._instance)
        async for batch in self._log.read(self._instance, after=recovered.after, until=last):
            for entry in batch:
                for ordered in recovered.sequencer.feed(entry):
                    event = ordered.event
                    if isinstance(event, Opened):
                        self._note_lost(event)
                    evolve(recovered.state, event)
                    if isinstance(event, Evicted):
                        self.evicted.setdefault(event.tier, set()).update(to_slots(event.slots))
        recovered.after = last

    def _note_lost(self, event: Opened) -> None:
        """A tier that is not kept has lost all its blocks."""
        for name, tier in self.state.tiers.items():
            if name not in event.kept:
                self.evicted.setdefault(name, set()).update(range(tier.spec.capacity))
