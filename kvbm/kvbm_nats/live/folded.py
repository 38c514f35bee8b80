"""The state of an instance that no service tells of: folded from its log, from the nearest snapshot on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kvbm_events.log import Log
from kvbm_events.schema.errors import KvbmError
from kvbm_nats.recovery import recover
from kvbm_statemachine import State, evolve

LOOK_EVERY_S = 0.25
RETRY_S = 5.0


class Folded:
    """See the module.

    :ivar state: after the last event that was read; None while there is none
    :ivar note: why there is none; empty while there is
    """

    def __init__(self, log: Log, instance: str) -> None:
        self.state: State | None = None
        self.note = "reading the log"
        self._log, self._instance = log, instance

    async def run(self, is_needed: Callable[[], bool]) -> None:
        """Keep the state at the log's end while it is needed, until cancelled."""
        while True:
            if is_needed():
                try:
                    await self._follow(is_needed)
                except KvbmError as error:
                    self.state, self.note = None, str(error)
                    await asyncio.sleep(RETRY_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _follow(self, is_needed: Callable[[], bool]) -> None:
        recovered = await recover(self._log, self._instance)
        sequencer, state = recovered.sequencer, recovered.state
        self.state, self.note = state, ""
        async for batch in self._log.read(self._instance, after=recovered.after):
            for entry in batch:
                for ordered in sequencer.feed(entry):
                    evolve(state, ordered.event)
            if not is_needed():
                break
        self.state, self.note = None, "reading the log"
