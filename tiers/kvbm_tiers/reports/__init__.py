"""What workers tell owners: the messages, the stream that keeps them for a while, and reading it."""

from kvbm_tiers.reports.feed import ReportFeed
from kvbm_tiers.reports.messages import (
    Heartbeat,
    HeldTier,
    Hello,
    InvalidReport,
    Message,
    OpenAnswer,
    OpenJob,
    OpenQuestion,
    Place,
    Reported,
    decode_message,
    encode,
    open_subject,
    place_of,
    report_subject,
    reports_of,
)
from kvbm_tiers.reports.stream import REPORTS, ReportsOptions, ensure_reports

__all__ = [
    "REPORTS",
    "Heartbeat",
    "HeldTier",
    "Hello",
    "InvalidReport",
    "Message",
    "OpenAnswer",
    "OpenJob",
    "OpenQuestion",
    "Place",
    "ReportFeed",
    "Reported",
    "ReportsOptions",
    "decode_message",
    "encode",
    "ensure_reports",
    "open_subject",
    "place_of",
    "report_subject",
    "reports_of",
]
