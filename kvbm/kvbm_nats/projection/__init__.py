"""The projection: the log as tables, for SQL. Derived, so it may be deleted at any time and is made again.

`Projector` keeps it at the end of the log, `open_projection` reads it, `verify` checks it against its fold. `docs/projection.md`.
"""

from kvbm_nats.projection.answers import (
    BlockRow,
    BranchRow,
    InstanceRow,
    JournalRow,
    KeyRow,
    RequestRow,
    StayRow,
    TierRow,
    TransferRow,
)
from kvbm_nats.projection.errors import (
    ProjectionConflict,
    ProjectionError,
    ProjectionMissing,
    ProjectionUnavailable,
)
from kvbm_nats.projection.meter import ProjectorStatus
from kvbm_nats.projection.projector import Projector
from kvbm_nats.projection.reading import JOURNAL_LIMIT, Projection, open_projection
from kvbm_nats.projection.verify import Verification, verify

__all__ = [
    "JOURNAL_LIMIT",
    "BlockRow",
    "BranchRow",
    "InstanceRow",
    "JournalRow",
    "KeyRow",
    "Projection",
    "ProjectionConflict",
    "ProjectionError",
    "ProjectionMissing",
    "ProjectionUnavailable",
    "Projector",
    "ProjectorStatus",
    "RequestRow",
    "StayRow",
    "TierRow",
    "TransferRow",
    "Verification",
    "open_projection",
    "verify",
]
