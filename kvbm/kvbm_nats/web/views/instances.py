"""`/`: all instances, and how full their tiers are."""

from __future__ import annotations

from kvbm_nats.explain import states_at
from kvbm_nats.explain.answers import InstanceState
from kvbm_nats.web.view import Ask, View


async def _answer(ask: Ask) -> list[InstanceState]:
    return await states_at(ask.projection, ask.until)


async def _commands(ask: Ask, _answer: list[InstanceState]) -> list[str]:
    return [ask.command("state")]


async def _context(ask: Ask, _answer: list[InstanceState]) -> dict[str, object]:
    last_us = {row.name: row.at_us for row in await ask.projection.instances()}
    return {"last_us": last_us, "newest_us": max(last_us.values(), default=0)}


VIEW = View(
    path="/",
    template="instances.html",
    answer=_answer,
    commands=_commands,
    title=lambda _ask: "Instances",
    context=_context,
)
