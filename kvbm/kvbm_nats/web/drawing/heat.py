"""A tier as cells: how full each is, and how long ago it was used."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from kvbm_nats.explain.answers import Cell, TierHeat
from kvbm_nats.explain.words import blocks, span
from kvbm_nats.web.drawing.svg import element, picture, titled

COLUMNS = 64
STEP, SIZE = 10, 9
AGES = ((1e6, "1 s"), (10e6, "10 s"), (60e6, "1 min"), (600e6, "10 min"), (3600e6, "1 h"))
"""Upper ends of the classes `age0` to `age4`, in microseconds; what is older, or of unknown age, is `age5`."""


def draw_heat(heat: TierHeat, now_us: int, link: Callable[[str], str]) -> Markup:
    """The tier's cells, row by row; each that has blocks leads to the one that was used last."""
    rows = -(-len(heat.cells) // COLUMNS)
    places = [(number % COLUMNS * STEP, number // COLUMNS * STEP) for number in range(len(heat.cells))]
    empty = element("path", class_="free", d="".join(f"M{x} {y}h{SIZE}v{SIZE}h-{SIZE}z" for x, y in places))
    cells = [
        _cell(cell, x, y, now_us, link)
        for cell, (x, y) in zip(heat.cells, places, strict=True)
        if cell.free < cell.slots
    ]
    used = sum(cell.slots - cell.free for cell in heat.cells)
    return picture(
        [empty, *cells],
        width=COLUMNS * STEP - 1,
        height=rows * STEP - 1,
        label=f"{heat.tier}: {used:,} of {blocks(heat.capacity, 'slot')} in use, by place and time of last use",
        class_="heat",
    )


def _cell(cell: Cell, x: int, y: int, now_us: int, link: Callable[[str], str]) -> Markup:
    height = max(2.0, SIZE * (cell.slots - cell.free) / cell.slots)
    parts: list[Markup | str] = [
        element("rect", class_=_class(cell, now_us), x=x, y=y + SIZE - height, width=SIZE, height=height)
    ]
    if cell.closed and cell.registered:
        parts.append(element("rect", class_="closed", x=x, y=y, width=SIZE, height=2))
    if not cell.key:
        return element("g", titled(parts, _said(cell, now_us)))
    return element("a", titled(parts, _said(cell, now_us)), href=link(cell.key), tabindex=-1)


def _class(cell: Cell, now_us: int) -> str:
    if not cell.registered:
        return "closed" if cell.closed >= cell.allocated else "allocated"
    if not cell.used_us:
        return f"age{len(AGES)}"
    return f"age{sum(now_us - cell.used_us >= end for end, _ in AGES)}"


def _said(cell: Cell, now_us: int) -> str:
    """`slots 128-131: 3 registered, used 4.1 s ago; 1 free`."""
    last = cell.first + cell.slots - 1
    where = f"slot {cell.first:,}" if cell.slots == 1 else f"slots {cell.first:,}-{last:,}"
    counts = (
        (cell.registered, "registered"),
        (cell.allocated, "allocated"),
        (cell.closed, "closed"),
        (cell.free, "free"),
    )
    parts = [name if cell.slots == 1 else f"{count:,} {name}" for count, name in counts if count]
    if cell.registered:
        parts[0] += f", used {span(max(0, now_us - cell.used_us))} ago" if cell.used_us else ", not used lately"
    return f"{where}: {'; '.join(parts)}"
