"""Figures as characters: bars, sparklines, rates."""

from __future__ import annotations

from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"


def bar(parts: Sequence[tuple[int, str]], whole: int, width: int) -> str:
    """Parts of a whole as so many of their characters each, `·` for the rest. A part that is there has at least one."""
    cells = ""
    for count, char in parts:
        size = round(count * width / whole) if whole else 0
        cells += char * (max(1, size) if count else 0)
    return cells[:width].ljust(width, "·")


def sparkline(values: Sequence[float | None], width: int, *, top: float | None = None) -> str:
    """The last `width` values as heights up to `top`, the largest where it is left out; a blank where none is known."""
    shown = list(values)[-width:] if width > 0 else []
    most = top if top is not None else max((value for value in shown if value is not None), default=0)
    cells = "".join(" " if value is None else _cell(value, most) for value in shown)
    return cells.rjust(max(0, width))


def _cell(value: float, most: float) -> str:
    if not most or not value:
        return _LEVELS[0]
    return _LEVELS[min(len(_LEVELS) - 1, 1 + int(value / most * (len(_LEVELS) - 1.001)))]


def cut(text: str, width: int) -> str:
    """The text in so many characters; what is cut off shows as `…`."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
