"""A moment in a log as people say it: a sequence (`1204551`), a time (`2026-11-24T12:04:31`, `12:04:31`), or ago (`-30s`)."""

from __future__ import annotations

import re
from datetime import datetime, time

from msgspec import Struct

from kvbm_events.schema.errors import InvalidCommand

_AGO = re.compile(r"-(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Moment(Struct, frozen=True, kw_only=True):
    """Up to and with a log sequence, or up to and with a time in microseconds since 1970; one of the two is None."""

    seq: int | None = None
    at_us: int | None = None


def parse_moment(text: str, now: datetime) -> Moment:
    """What the text says, `now` being the moment at which it was said; times are local unless they name an offset.

    Raises:
        InvalidCommand: it is none of the forms, or names a time that does not exist.
    """
    if text.isdecimal():
        return Moment(seq=int(text))
    if ago := _AGO.fullmatch(text):
        seconds = float(ago[1]) * _SECONDS[ago[2]]
        return Moment(at_us=int((now.timestamp() - seconds) * 1e6))
    try:
        when = (
            datetime.combine(now.date(), time.fromisoformat(text)) if "-" not in text else datetime.fromisoformat(text)
        )
    except ValueError as error:
        raise InvalidCommand(
            f"{text!r} is no moment", why=str(error), hint="a sequence, 2026-11-24T12:04:31, 12:04:31 or -30s"
        ) from error
    if when.tzinfo is None:
        when = when.replace(tzinfo=now.tzinfo)
    return Moment(at_us=int(when.timestamp() * 1e6))
