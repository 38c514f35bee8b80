"""What a tier is, as the log tells it: its name, size, and who decides in it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

TierName = Literal["g1", "g2", "g3", "g4"]
TIERS: tuple[TierName, ...] = ("g1", "g2", "g3", "g4")
"""Fastest first: device, pinned host, disk, object store."""

MAX_CAPACITY = 1 << 26
"""Slots of a tier."""

Control = Literal["owned", "observed"]
"""owned: we decide where blocks go. observed: an engine decides and we record."""
Admission = Literal["write_through", "selective", "on_evict"]
"""Which blocks go down into a tier: all, those seen often enough, or those about to leave the tier above."""
SEEN_MIN = 2
"""How often `selective` must have seen a block, unless it is told otherwise."""


class TierSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tier of an instance as its owner opened it.

    `capacity` is in blocks. `policy` names the eviction policy. `admission` says which blocks come down into this
    tier from the one above; `seen_min` is the k of `selective`, and `priority_min` the least priority of a request for
    whose blocks that is done at all.
    """

    tier: TierName
    capacity: int
    policy: str = "lineage-lru"
    control: Control = "owned"
    admission: Admission = "write_through"
    seen_min: int = SEEN_MIN
    priority_min: int = 0
