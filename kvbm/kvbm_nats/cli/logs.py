"""Where the long-running commands log: a line an event on stderr, for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys

import structlog


def log_to_stderr() -> None:
    """Set up structlog from `info` on, and the standard library's logging from warnings on."""
    is_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)


def keep_quiet() -> None:
    """Leave warnings about connections to a command that says itself how it stands with its server."""
    logging.getLogger("kvbm_events.jetstream").setLevel(logging.ERROR)
