"""`/i/INSTANCE/diff?a=&b=`: what came and went between two moments."""

from __future__ import annotations

from kvbm_nats.explain import differences_between
from kvbm_nats.explain.answers import Difference
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.view import Ask, View, first_event

SHOWN = 20
"""Keys, requests and transfers of a list that are named."""
EVENTS = 1000


async def _answer(ask: Ask) -> Difference:
    a, b = await _moments(ask)
    found = await differences_between(ask.projection, await ask.moment(a), await ask.moment(b), ask.instance)
    if not found:
        raise Problem(404, f"{ask.instance} had not begun by either moment", hint="choose later ones")
    return found[0]


async def _moments(ask: Ask) -> tuple[str, str]:
    """What is compared, as `kvbm diff` takes it: the present moment, and `EVENTS` before it, unless the URL says so."""
    first = await first_event(ask)
    before = max(first.seq if first else 0, ask.until - EVENTS)
    return ask.query.get("a") or str(before), ask.query.get("b") or str(ask.until)


async def _commands(ask: Ask, _answer: Difference) -> list[str]:
    a, b = await _moments(ask)
    return [ask.command("diff", a, b, with_at=False)]


async def _context(ask: Ask, _answer: Difference) -> dict[str, object]:
    a, b = await _moments(ask)
    return {"a": a, "b": b, "shown_max": SHOWN}


VIEW = View(
    path="/i/{instance}/diff",
    template="diff.html",
    answer=_answer,
    commands=_commands,
    title=lambda ask: f"What changed in {ask.instance}",
    context=_context,
)
