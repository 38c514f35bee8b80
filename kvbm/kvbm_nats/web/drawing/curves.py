"""Hit ratios over slots, a line a policy and admission, and the bound above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from msgspec import Struct

from kvbm_nats.web.drawing.svg import element, picture

WIDTH, HEIGHT = 720.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 16.0, 10.0, 26.0
LINES = 8
"""Classes `line0` to `line7`; a ninth line is drawn as the first."""
_CLOSE = 46.0
"""Labels of the axis that would stand closer are left out."""

Point = tuple[int, float]


class Curve(Struct, frozen=True):
    """A line of the picture, and the class of its colour."""

    name: str
    class_: str
    points: list[Point]


def draw_curves(lines: Mapping[str, Sequence[Point]], bound: Sequence[Point]) -> tuple[Markup, list[Curve]]:
    """The picture, and what its legend says. Points are slots and percent."""
    curves = [Curve(name, f"line{number % LINES}", list(points)) for number, (name, points) in enumerate(lines.items())]
    curves.append(Curve("possible (Belady)", "bound", list(bound)))
    sizes = sorted({slots for curve in curves for slots, _ in curve.points})
    highest = max((percent for curve in curves for _, percent in curve.points), default=0.0)
    axes = _Axes(sizes[0] if sizes else 0, sizes[-1] if sizes else 1, min(100, 10 * (int(highest) // 10 + 1)))
    drawn = [*axes.grid(), *axes.sizes(sizes), *(_curve(axes, curve) for curve in curves[::-1])]
    label = "Hits of blocks asked for, in percent, over slots in all tiers; the table has the figures"
    return picture(drawn, width=WIDTH, height=HEIGHT, label=label, class_="curves"), curves


class _Axes:
    """From slots and percent to places."""

    def __init__(self, least: int, most: int, top: int) -> None:
        self._least, self._most, self._top = least, most, top

    def x(self, slots: int) -> float:
        inner = WIDTH - LEFT - RIGHT
        return LEFT + inner * ((slots - self._least) / (self._most - self._least) if self._most > self._least else 0.5)

    def y(self, percent: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * percent / self._top

    def grid(self) -> list[Markup]:
        """Lines and labels of the percents."""
        found = []
        for percent in range(0, self._top + 1, 10 if self._top <= 50 else 20):  # noqa: PLR2004 - half of what there is
            y = self.y(percent)
            found.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
            found.append(element("text", [f"{percent} %"], x=LEFT - 6, y=y + 4, text_anchor="end"))
        return found

    def sizes(self, sizes: Sequence[int]) -> list[Markup]:
        """Labels of the slots, as far as there is room."""
        found, last = list[Markup](), -_CLOSE
        for slots in sizes:
            x = self.x(slots)
            if x - last >= _CLOSE:
                last = x
                at_end = "end" if x > WIDTH - RIGHT - _CLOSE / 2 else "middle"
                found.append(element("text", [f"{slots:,}"], x=x, y=HEIGHT - 8, text_anchor=at_end))
        return found


def _curve(axes: _Axes, curve: Curve) -> Markup:
    places = [(axes.x(slots), axes.y(percent), slots, percent) for slots, percent in curve.points]
    line = element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places))
    dots = [
        element("circle", [element("title", [f"{curve.name}: {percent:.1f} % in {slots:,} slots"])], cx=x, cy=y, r=3.5)
        for x, y, slots, percent in places
    ]
    return element("g", [line, *dots], class_=curve.class_)
