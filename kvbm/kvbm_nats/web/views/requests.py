"""`/i/INSTANCE/requests`: who asked lately, by id, or who missed most."""

from __future__ import annotations

from typing import cast, get_args

from kvbm_nats.explain import recent_requests
from kvbm_nats.explain.answers import RecentRequests
from kvbm_nats.explain.recent import Order
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.view import Ask, View, nothing_more

LIMIT = 50


def _order(ask: Ask) -> Order:
    order = ask.query.get("order") or "recent"
    if order not in get_args(Order):
        raise Problem(400, f"order={order[:40]!r}", why="there is no such order", hint=" or ".join(get_args(Order)))
    return cast("Order", order)


async def _answer(ask: Ask) -> RecentRequests:
    return await recent_requests(
        ask.projection,
        until=ask.until,
        instance=ask.instance,
        containing=ask.query.get("containing", ""),
        order=_order(ask),
        limit=ask.number("limit", LIMIT),
    )


async def _commands(ask: Ask, _answer: RecentRequests) -> list[str]:
    limit = ask.number("limit", LIMIT)
    return [
        ask.command(
            "request",
            "list",
            containing=ask.query.get("containing", ""),
            order="" if _order(ask) == "recent" else _order(ask),
            limit="" if limit == LIMIT else limit,
        )
    ]


VIEW = View(
    path="/i/{instance}/requests",
    template="requests.html",
    answer=_answer,
    commands=_commands,
    title=lambda ask: f"Requests of {ask.instance}",
    context=nothing_more,
)
