"""Hit ratio over time: a column a span, its parts by tier."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from kvbm_nats.cli.moments import clock
from kvbm_nats.explain.answers import HitSpan
from kvbm_nats.web.drawing.svg import TIER_CLASSES, element, picture, titled

STEP, SIZE, HEIGHT = 10.0, 8.5, 100.0


def draw_hits(spans: Sequence[HitSpan]) -> Markup:
    """Columns of 0 to 100 %; spans in which nobody asked have none."""
    columns = [_column(number, each) for number, each in enumerate(spans) if each.asked]
    lines = [element("line", class_="grid", x1=0, x2=STEP * len(spans), y1=y, y2=y) for y in (0.0, HEIGHT / 2, HEIGHT)]
    asked = sum(each.asked for each in spans)
    found = sum(sum(each.found.values()) for each in spans)
    label = f"Hit ratio over time; {100 * found / asked:.1f} % of all" if asked else "Nobody asked"
    return picture([*lines, *columns], width=STEP * len(spans), height=HEIGHT, label=label, class_="hits", stretch=True)


def _column(number: int, each: HitSpan) -> Markup:
    parts: list[Markup | str] = []
    at = HEIGHT
    for tier, count in each.found.items():
        height = HEIGHT * count / each.asked
        at -= height
        parts.append(element("rect", class_=TIER_CLASSES[tier], x=number * STEP, y=at, width=SIZE, height=height))
    missed = HEIGHT - HEIGHT * sum(each.found.values()) / each.asked
    parts.append(element("rect", class_="missed", x=number * STEP, y=0.0, width=SIZE, height=missed))
    found = ", ".join(f"{100 * count / each.asked:.1f} % in {tier}" for tier, count in each.found.items()) or "nothing"
    return element(
        "g", titled(parts, f"{clock(each.from_us)}: {each.look_ups:,} look-ups, {each.asked:,} blocks: found {found}")
    )
