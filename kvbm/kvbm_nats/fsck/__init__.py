"""Log, arenas and slabs held against each other: `check` looks, `repair` has the owner evict what is not there."""

from kvbm_nats.fsck.check import Check, open_check
from kvbm_nats.fsck.repair import repair
from kvbm_nats.fsck.report import BadBlock, FileReport, Report, TierReport

__all__ = ["BadBlock", "Check", "FileReport", "Report", "TierReport", "open_check", "repair"]
