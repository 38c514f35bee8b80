"""`kvbm check`: is an instance well, for a monitor: owner, workers, tiers, log and projection against limits. Changes nothing."""

from kvbm_nats.check.finding import CODES, Finding, Level, Report, Value
from kvbm_nats.check.limits import Limits
from kvbm_nats.check.run import Subject, check

__all__ = ["CODES", "Finding", "Level", "Limits", "Report", "Subject", "Value", "check"]
