"""`/i/INSTANCE/misses`: what look-ups missed their blocks for."""

from __future__ import annotations

from kvbm_nats.explain import miss_causes
from kvbm_nats.explain.answers import MissCauses
from kvbm_nats.explain.miss_causes import LOOK_UPS_MAX
from kvbm_nats.web.drawing import draw_shares
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.view import Ask, View

LIMIT = 300


def _limit(ask: Ask) -> int:
    limit = ask.number("limit", LIMIT)
    if not 1 <= limit <= LOOK_UPS_MAX:
        raise Problem(
            400,
            f"{limit:,} look-ups",
            why=f"a page explains 1 to {LOOK_UPS_MAX:,}",
            hint="the command line has no limit",
        )
    return limit


async def _answer(ask: Ask) -> MissCauses:
    since = ask.query.get("since")
    after = await ask.moment(since) if since else 0
    return await miss_causes(ask.projection, after=after, until=ask.until, instance=ask.instance, limit=_limit(ask))


async def _commands(ask: Ask, _answer: MissCauses) -> list[str]:
    return [ask.command("why-miss", "--top", since=ask.query.get("since", ""), limit=_limit(ask))]


async def _context(ask: Ask, answer: MissCauses) -> dict[str, object]:
    return {"picture": draw_shares(answer.causes), "limit": _limit(ask), "limit_max": LOOK_UPS_MAX}


VIEW = View(
    path="/i/{instance}/misses",
    template="misses.html",
    answer=_answer,
    commands=_commands,
    title=lambda ask: f"Misses of {ask.instance}",
    context=_context,
    time_s=60.0,
)
