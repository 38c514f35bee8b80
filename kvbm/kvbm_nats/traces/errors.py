"""What can be wrong with a trace."""

from __future__ import annotations

from kvbm_events.schema.errors import KvbmError


class InvalidTrace(KvbmError):
    """A trace cannot be read: the text names the file, the line or field, and what was expected there."""
