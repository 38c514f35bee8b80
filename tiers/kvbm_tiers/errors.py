"""What can be wrong with the memory of a tier, and with what moves it.

KvbmError
├── RefusedError
│   └── NamespaceMismatch  what is kept there belongs to another model or layout (kvbm_events.schema.errors)
├── StoreError
│   ├── StoreBusy          another process has it
│   ├── StoreFull          there is not enough room for it
│   ├── StoreDamaged       it is missing, too short, or cannot be read
│   ├── MemoryUnavailable  the host of a remote memory does not answer
│   └── SessionOver        the session with the host of a remote memory broke
└── NixlUnavailable        NIXL is not installed, or does not start here
"""

from __future__ import annotations

from kvbm_events.schema.errors import KvbmError


class StoreError(KvbmError):
    """Base of what can be wrong with a tier's memory when it is opened."""


class StoreBusy(StoreError):
    """Another process has the file open: two would overwrite each other's blocks."""


class StoreFull(StoreError):
    """The file system cannot give the room that was asked for."""


class StoreDamaged(StoreError):
    """The file, or the sidecar that says what is in it, is not as it was left."""


class MemoryUnavailable(StoreError):
    """The host of a remote memory is not there, or does not answer in time."""


class SessionOver(StoreError):
    """The session with the host of a remote memory broke. What was under way may still be written until the next one."""


class NixlUnavailable(KvbmError):
    """NIXL is not installed, or its engine does not start here. `ThreadMover` does the same work without it."""
