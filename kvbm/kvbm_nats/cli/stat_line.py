"""A sample as a line of columns, and the header above it: every figure a rate a second, unless its column says otherwise.

On a terminal figures are short (`12.4k`) and columns that do not fit are left out, the least important first; in a pipe
they are plain numbers, and all columns are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from kvbm_events.schema import LOST, TierName
from kvbm_nats.live import Sample

UNKNOWN = "-"
_PLAIN_DECIMALS = 10
Path = tuple[str, str]


class Column(NamedTuple):
    """One figure: None is unknown. `rank` says how soon it is left out where room is scarce: the highest first."""

    name: str
    width: int
    rank: int
    value: Callable[[Sample], float | None]


def columns_of(tiers: Sequence[TierName], paths: Sequence[Path]) -> list[Column]:
    """The columns for instances with these tiers and paths, fastest tier first."""
    columns = [
        Column("hit%", 5, 0, lambda sample: None if sample.hit_ratio is None else 100 * sample.hit_ratio),
        Column("looks", 6, 0, lambda sample: sample.per_s(sample.look_ups)),
    ]
    for tier in tiers:
        columns += [Column(f"{tier}in", 6, 1, _came(tier)), Column(f"{tier}out", 6, 1, _left(tier))]
    columns += [
        Column("room", 6, 4, lambda sample: sample.per_s(sample.evicted.get("capacity", 0))),
        Column("lost", 5, 2, lambda sample: sample.per_s(sum(sample.evicted.get(reason, 0) for reason in LOST))),
        Column("told", 5, 5, lambda sample: sample.per_s(_told(sample))),
    ]
    for path in paths:
        name = ">".join(path)
        columns += [Column(name, 6, 7, _transfers(path)), Column(f"{name}B", 7, 6, _bytes(path))]
    return [
        *columns,
        Column("B", 6, 1, lambda sample: sample.per_s(sample.moved_bytes)),
        Column("fly", 4, 1, lambda sample: sample.in_flight),
        Column("wait", 5, 1, lambda sample: sample.waiting),
        Column("drop", 5, 2, lambda sample: None if sample.dropped is None else sum(sample.dropped.values())),
        Column("unack", 6, 3, lambda sample: sample.unstored),
        Column("lag", 5, 1, lambda sample: sample.lag),
    ]


def fitting(columns: list[Column], width: int) -> list[Column]:
    """Those that go beside the time into so many characters, in their order."""
    chosen = list(columns)
    while chosen and len(header(chosen)) > width:
        chosen.remove(max(reversed(chosen), key=lambda column: column.rank))
    return chosen


def header(columns: Sequence[Column]) -> str:
    """The names, above their figures."""
    return "time    " + "".join(f" {column.name:>{column.width - 1}}" for column in columns)


def line(sample: Sample, columns: Sequence[Column], *, is_short: bool) -> str:
    """The figures."""
    time = datetime.fromtimestamp(sample.at_us / 1e6).astimezone().strftime("%H:%M:%S")
    figures = (None if sample.away else column.value(sample) for column in columns)
    texts = (_text(figure, is_short=is_short) for figure in figures)
    return time + "".join(f" {text:>{column.width - 1}}" for text, column in zip(texts, columns, strict=True))


def _text(figure: float | None, *, is_short: bool) -> str:
    if figure is None:
        return UNKNOWN
    if is_short:
        return short(figure)
    return f"{figure:.2f}" if 0 < figure < _PLAIN_DECIMALS and figure != int(figure) else f"{figure:.0f}"


def short(figure: float) -> str:
    """A figure in four characters: `0`, `0.4`, `37`, `812`, `1.2k`, `31k`, `4.5M`."""
    for unit in ("", "k", "M", "G"):
        if figure < 999.5:  # noqa: PLR2004 - what is rounded to 1000 is one of the next unit
            return f"{figure:.1f}{unit}" if 0 < figure < 9.95 and (unit or figure % 1) else f"{figure:.0f}{unit}"  # noqa: PLR2004 - one digit
        figure /= 1000
    return f"{figure:.0f}T"


def _came(tier: TierName) -> Callable[[Sample], float]:
    return lambda sample: sample.per_s(sample.tiers[tier].came if tier in sample.tiers else 0)


def _left(tier: TierName) -> Callable[[Sample], float]:
    return lambda sample: sample.per_s(sample.tiers[tier].left if tier in sample.tiers else 0)


def _told(sample: Sample) -> int:
    return sum(blocks for reason, blocks in sample.evicted.items() if reason != "capacity" and reason not in LOST)


def _transfers(path: Path) -> Callable[[Sample], float]:
    return lambda sample: sample.per_s(sum(each.transfers for each in sample.paths if (each.source, each.tier) == path))


def _bytes(path: Path) -> Callable[[Sample], float]:
    return lambda sample: sample.per_s(
        sum(each.size_bytes for each in sample.paths if (each.source, each.tier) == path)
    )
