"""A memory host's figures."""

from __future__ import annotations

from kvbm_nats.metrics import catalog
from kvbm_nats.metrics.families import Families
from kvbm_tiers.remote import MemoryHost


def tell_memory(families: Families, name: str, host: MemoryHost) -> None:
    """Whether somebody has the memory, and what it sent."""
    families.add(catalog.HELD, host.is_held, name)
    families.add(catalog.PUSHED, host.pushed_bytes, name)
