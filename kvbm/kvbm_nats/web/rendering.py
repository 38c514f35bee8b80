"""Pages from templates. Everything is escaped unless a drawing of ours made it."""

from __future__ import annotations

import jinja2

from kvbm_nats.cli.moments import clock
from kvbm_nats.cli.text import printable
from kvbm_nats.explain.words import SHOWN_DIGITS, blocks, found_in_words, span
from kvbm_nats.web import links
from kvbm_nats.web.drawing import TIER_CLASSES

NONE = "-"
"""A figure that there is not."""

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("kvbm_nats.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _number(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else NONE


_ENVIRONMENT.filters.update(
    clock=clock, span=span, number=_number, blocks=blocks, found=found_in_words, tokens=_number, printable=printable
)
_ENVIRONMENT.globals.update(percent=_percent, links=links, tier_class=TIER_CLASSES, shown=SHOWN_DIGITS)


def render(template: str, /, *, title: str, **values: object) -> str:
    """The page of a template; the values are those that it names."""
    return _ENVIRONMENT.get_template(template).render(title=printable(title), **values)
