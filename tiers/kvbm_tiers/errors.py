"""What can be wrong with the memory of a tier, and with what moves it.

KvbmError
├── TransferFailed
│   └── ObjectFailed        a request to object storage failed
│       └── BlockLost       … and its block will not be there again
├── RefusedError
│   └── NamespaceMismatch  what is kept there belongs to another model or layout (kvbm_events.schema.errors)
├── StoreError
│   ├── StoreBusy          another process has it
│   ├── StoreFull          there is not enough room for it
│   ├── StoreDamaged       it is missing, too short, or cannot be read
│   └── StoreUnavailable   object storage does not answer, or refuses
├── NixlUnavailable        NIXL is not installed, or does not start here
└── ObstoreUnavailable     obstore is not installed
"""

from __future__ import annotations

from kvbm_events.schema.errors import KvbmError, TransferFailed


class StoreError(KvbmError):
    """Base of what can be wrong with a tier's memory when it is opened."""


class StoreBusy(StoreError):
    """Another process has the file open: two would overwrite each other's blocks."""


class StoreFull(StoreError):
    """The file system cannot give the room that was asked for."""


class StoreDamaged(StoreError):
    """The file, or the sidecar that says what is in it, is not as it was left."""


class StoreUnavailable(StoreError):
    """Object storage does not answer, has no such bucket, or does not let us write."""


class ObjectFailed(TransferFailed):
    """A request to object storage failed; its text is the reason, as reports have it."""


class BlockLost(ObjectFailed):
    """The store has answered, and the block is not what it was, or not there: asking again is of no use."""


class ObstoreUnavailable(KvbmError):
    """obstore is not installed. Nothing else reaches object storage."""


class NixlUnavailable(KvbmError):
    """NIXL is not installed, or its engine does not start here. `ThreadMover` does the same work without it."""
