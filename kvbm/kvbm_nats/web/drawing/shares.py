"""Causes of misses as parts of one bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from markupsafe import Markup

from kvbm_nats.explain.answers import Cause, CauseShare
from kvbm_nats.web.drawing.svg import element, picture, titled

WIDTH, HEIGHT = 1000.0, 22.0
CAUSE_CLASSES = {cause: f"cause-{cause.replace('_', '-')}" for cause in get_args(Cause)}


def draw_shares(causes: Sequence[CauseShare]) -> Markup:
    """The bar, from the cause that took most."""
    parts, at = [], 0.0
    for each in causes:
        width = WIDTH * each.share
        rect = element("rect", class_=CAUSE_CLASSES[each.cause], x=at, y=0, width=max(0.5, width - 2), height=HEIGHT)
        parts.append(element("g", titled([rect], f"{each.cause}: {each.share:.1%}, {each.blocks:,} blocks")))
        at += width
    label = ", ".join(f"{each.cause} {each.share:.1%}" for each in causes) or "nothing was missed"
    return picture(parts, width=WIDTH, height=HEIGHT, label=label, class_="shares", stretch=True)
