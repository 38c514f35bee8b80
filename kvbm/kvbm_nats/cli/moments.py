"""Times as people read them on their own clock, and a block's stays as bars on one."""

from __future__ import annotations

from datetime import datetime


def clock(at_us: int) -> str:
    """The local time to the millisecond, with its date unless that is today's; `-` for none."""
    if not at_us:
        return "-"
    when = datetime.fromtimestamp(at_us / 1e6).astimezone()
    time = when.strftime("%H:%M:%S.") + f"{at_us // 1000 % 1000:03}"
    return time if when.date() == datetime.now().astimezone().date() else f"{when.date()} {time}"


def bar(from_us: int, to_us: int, *, first_us: int, last_us: int, width: int) -> str:
    """A stay as full cells on a line of `width` that goes from `first_us` to `last_us`; one at least."""
    whole = max(1, last_us - first_us)
    start = min(width - 1, width * (from_us - first_us) // whole)
    end = min(width, max(start + 1, -(-width * (to_us - first_us) // whole)))
    return "·" * start + "█" * (end - start) + "·" * (width - end)
