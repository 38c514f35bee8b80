"""What can go wrong with a projection. The log is never harmed by it, and a projection can always be made again.

ProjectionError(KvbmError)
├── ProjectionUnavailable   the database cannot be opened, read or written
├── ProjectionMissing       there is no projection at this URL, or it is of another version
└── ProjectionConflict      somebody else writes to it
"""

from __future__ import annotations

from kvbm_events.schema.errors import KvbmError


class ProjectionError(KvbmError):
    """Base of all."""


class ProjectionUnavailable(ProjectionError):
    """The database cannot be opened, read or written."""


class ProjectionMissing(ProjectionError):
    """There is no projection at this URL, or it is of another version."""


class ProjectionConflict(ProjectionError):
    """Another projector has moved the checkpoint."""


class RebuildNeeded(Exception):
    """The projection must be made again; the text says why. Never leaves this package."""
