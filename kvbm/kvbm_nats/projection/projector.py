"""The projector: keeps a projection at the end of the log.

Rules
1. Rows and checkpoint are one transaction, so a crash applies nothing twice. There is one projector a projection.
2. The states behind the rows are in memory only; after a restart they come from the log again, without writing.
3. A projection that this log, or this program, would not have made is made again from the beginning, beside the old one.
"""

from __future__ import annotations

import structlog

from kvbm_events.log import Log
from kvbm_events.schema.errors import LogGap
from kvbm_nats.projection.backend import Store, backend_of
from kvbm_nats.projection.errors import RebuildNeeded
from kvbm_nats.projection.fold import Fold
from kvbm_nats.projection.follower import Follower
from kvbm_nats.projection.meter import Meter, ProjectorStatus
from kvbm_nats.projection.start import begin, resume

_logger = structlog.get_logger(__name__)


class Projector:
    """See the module.

    Args:
        log: the log; it is only read, and not closed
        url: `sqlite:///projection.db`, `postgresql://user@host/database`, or a path

    Raises:
        InvalidCommand: that is no such URL.
    """

    def __init__(self, log: Log, url: str) -> None:
        self._log, self._backend = log, backend_of(url)
        self._meter = Meter()
        self._rebuilds, self._reason = 0, ""
        self._store: Store | None = None
        self._fold = Fold()
        self._follower: Follower | None = None

    @property
    def status(self) -> ProjectorStatus:
        """How far and how fast. See `ProjectorStatus`."""
        events_per_s, blocks_per_s = self._meter.rates()
        return ProjectorStatus(
            seq=self._store.position.seq if self._store else 0,
            last_seq=self._follower.last_seq if self._follower else 0,
            events_per_s=events_per_s,
            blocks_per_s=blocks_per_s,
            applied=self._meter.events,
            passed_over=self._fold.passed_over,
            rebuilds=self._rebuilds,
            reason=self._reason,
        )

    async def run(self, until: int | None = None) -> None:
        """Follow the log up to and with sequence `until`, or until cancelled. What was begun to be written is written.

        Raises:
            ProjectionConflict: another projector is at work here.
            ProjectionUnavailable: the database failed; `run` may be called again.
            IllegalTransition, InvalidEvent: the log holds what this program cannot apply; all before it was written.
            LogGap: events are missing that no snapshot covers.
            LogUnavailable: the log failed; `run` may be called again.
        """
        await self._backend.lock()
        try:
            reason: RebuildNeeded | None = None
            while True:
                store, self._fold = await self._start(reason)
                self._store, start = store, store.position
                try:
                    self._follower = Follower(self._log, store, self._fold, self._meter)
                    await self._follower.run(until)
                except RebuildNeeded as cause:
                    if reason and store.position == start and isinstance(cause.__cause__, LogGap):
                        raise cause.__cause__ from None  # it was made again just now: the log itself has a hole
                    reason = cause
                else:
                    return
                finally:
                    await store.close()
        finally:
            await self._backend.unlock()

    async def _start(self, reason: RebuildNeeded | None) -> tuple[Store, Fold]:
        """The newest generation with the states at its checkpoint; or the next one, where there is none or a reason."""
        store = await self._backend.newest()
        if store:
            try:
                if reason is None:
                    return store, await resume(self._log, self._backend, store)
            except RebuildNeeded as cause:
                reason = cause
            except BaseException:
                await store.close()
                raise
            await store.close()
        if reason:
            self._rebuilds, self._reason = self._rebuilds + 1, str(reason)
            _logger.warning("projection: it is made again from the log", why=str(reason))
        store = await self._backend.create()
        try:
            has_hole = reason is not None and isinstance(reason.__cause__, LogGap)
            return store, await begin(self._log, store, has_hole=has_hole)
        except BaseException:
            await store.close()
            raise
