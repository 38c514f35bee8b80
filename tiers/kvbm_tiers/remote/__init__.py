"""A tier in the memory of another process, on this host or on another one: who keeps it, and who reaches it."""

from kvbm_tiers.remote.host import HostOptions, MemoryHost, MemoryPlan, keep_memory
from kvbm_tiers.remote.keeper import LinkOptions
from kvbm_tiers.remote.mover import NixlUcxMover
from kvbm_tiers.remote.store import RemoteMemory

__all__ = ["HostOptions", "LinkOptions", "MemoryHost", "MemoryPlan", "NixlUcxMover", "RemoteMemory", "keep_memory"]
