"""The bytes: what moves blocks between tiers, behind one interface."""

from kvbm_tiers.memory_mover import MemoryMover
from kvbm_tiers.mover import Job, Mover, Report

__all__ = ["Job", "MemoryMover", "Mover", "Report"]
