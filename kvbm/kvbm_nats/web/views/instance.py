"""`/i/INSTANCE`: its tiers as heat maps, hits over time, and what happens."""

from __future__ import annotations

from collections import Counter

from kvbm_events.schema import TierName
from kvbm_nats.explain import hits_over_time, instance_state, tiers_heat
from kvbm_nats.explain.answers import InstanceState
from kvbm_nats.explain.words import SHOWN_DIGITS
from kvbm_nats.web import links
from kvbm_nats.web.drawing import draw_heat, draw_hits
from kvbm_nats.web.drawing.heat import AGES
from kvbm_nats.web.view import Ask, View
from kvbm_nats.web.views.events import recent_events

EVENTS_SHOWN = 20


async def _answer(ask: Ask) -> InstanceState:
    return instance_state(ask.instance, await ask.state(), ask.until)


async def _commands(ask: Ask, _answer: InstanceState) -> list[str]:
    return [ask.command("state")]


async def _context(ask: Ask, _answer: InstanceState) -> dict[str, object]:
    events = await recent_events(ask, EVENTS_SHOWN)
    now_us = events[-1].at_us if events else 0
    spans = await hits_over_time(ask.projection, ask.instance, ask.until)
    found = Counter[TierName]()
    for each in spans:
        found.update(each.found)
    heats = await tiers_heat(ask.projection, ask.instance, await ask.state(), ask.until)

    def link(key: str) -> str:
        return links.block(ask.instance, key[:SHOWN_DIGITS], at=ask.at)

    return {
        "ages": AGES,
        "now_us": now_us,
        "heats": [(heat, draw_heat(heat, now_us, link)) for heat in heats],
        "spans": spans,
        "hits_picture": draw_hits(spans),
        "asked": sum(each.asked for each in spans),
        "found": {tier: found[tier] for tier in sorted(found)},
        "events": events,
    }


VIEW = View(
    path="/i/{instance}",
    template="instance.html",
    answer=_answer,
    commands=_commands,
    title=lambda ask: ask.instance,
    context=_context,
)
