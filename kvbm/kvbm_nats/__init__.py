"""What users touch: the owner that is embedded, the service and its client, the projection, replay, and the command.

The names here are imported when they are first used, so that `kvbm --help` need not wait for a NATS client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvbm_events.jetstream import JetStreamLog
    from kvbm_events.memory import MemoryLog
    from kvbm_events.schema import TierSpec
    from kvbm_nats.manager import BlockManager
    from kvbm_nats.offloading import Ticket
    from kvbm_nats.options import Options
    from kvbm_nats.publisher import Publisher

__all__ = ["BlockManager", "JetStreamLog", "MemoryLog", "Options", "Publisher", "Ticket", "TierSpec"]

_HOMES = {
    "BlockManager": "kvbm_nats.manager",
    "JetStreamLog": "kvbm_events.jetstream",
    "MemoryLog": "kvbm_events.memory",
    "Options": "kvbm_nats.options",
    "Publisher": "kvbm_nats.publisher",
    "Ticket": "kvbm_nats.offloading",
    "TierSpec": "kvbm_events.schema",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
