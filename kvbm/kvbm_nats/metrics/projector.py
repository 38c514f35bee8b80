"""How far a projection is behind the log."""

from __future__ import annotations

from kvbm_events.log import Log
from kvbm_nats.metrics import catalog
from kvbm_nats.metrics.families import Families
from kvbm_nats.projection.lag import lag_of
from kvbm_nats.projection.projector import Projector


async def tell_projector(families: Families, log: Log, projector: Projector) -> None:
    """Asks the log where it ends, and for the first event that is not in the tables. Raises LogUnavailable."""
    status = projector.status
    families.add(catalog.APPLIED, status.applied)
    lag = await lag_of(log, status.seq)
    families.add(catalog.LAG, lag.entries)
    families.add(catalog.LAG_S, lag.age_s)
