"""A block's life: a line an instance and tier, a bar a stay."""

from __future__ import annotations

from markupsafe import Markup
from msgspec import Struct

from kvbm_nats.cli.moments import clock
from kvbm_nats.explain.answers import BlockLife, Stay
from kvbm_nats.explain.words import span
from kvbm_nats.web.drawing.svg import TIER_CLASSES, element, picture, titled

WIDTH, HEIGHT, LEAST = 1000.0, 16.0, 3.0
BARS_MAX = 400
"""Stays that a line shows, the latest."""


class Line(Struct, frozen=True):
    """The stays in one tier of an instance."""

    instance: str
    tier: str
    stays: int
    picture: Markup


def draw_life(life: BlockLife) -> list[Line]:
    """A line each, in the order in which the block came there."""
    grouped: dict[tuple[str, str], list[Stay]] = {}
    for stay in life.stays:
        grouped.setdefault((stay.instance, stay.tier), []).append(stay)
    first_us = min((stay.from_us for stay in life.stays), default=0)
    return [
        Line(instance, tier, len(stays), _line(tier, stays, first_us, life.as_of_us))
        for (instance, tier), stays in sorted(grouped.items())
    ]


def _line(tier: str, stays: list[Stay], first_us: int, last_us: int) -> Markup:
    scale = WIDTH / max(1, last_us - first_us)
    bars = []
    for stay in stays[-BARS_MAX:]:
        until_us = last_us if stay.to_us is None else stay.to_us
        width = min(WIDTH, max(LEAST, (until_us - stay.from_us) * scale))
        x = min((stay.from_us - first_us) * scale, WIDTH - width)
        ended = stay.ended or "it is there"
        said = f"slot {stay.slot}, from {clock(stay.from_us)} for {span(until_us - stay.from_us)}: {ended}"
        bars.append(
            element(
                "g", titled([element("rect", class_=TIER_CLASSES[tier], x=x, y=0, width=width, height=HEIGHT)], said)
            )
        )
    label = f"{len(stays)} stays in {tier}"
    return picture(bars, width=WIDTH, height=HEIGHT, label=label, class_="life", stretch=True)
