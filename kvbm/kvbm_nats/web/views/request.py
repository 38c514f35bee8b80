"""`/i/INSTANCE/requests/ID`: a request's story, and why it missed."""

from __future__ import annotations

from kvbm_nats.explain import request_story, why_miss
from kvbm_nats.explain.answers import RequestStory, WhyMiss
from kvbm_nats.web import links
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.view import Ask, View, nothing_more


def _id(ask: Ask) -> str:
    return ask.path.get("id") or ask.query.get("id", "")


async def _story(ask: Ask) -> RequestStory:
    story = await request_story(ask.projection, _id(ask), until=ask.until, instance=ask.instance)
    if story is None:
        raise _unknown(ask)
    return story


async def _why(ask: Ask) -> WhyMiss:
    answer = await why_miss(ask.projection, _id(ask), until=ask.until, instance=ask.instance)
    if answer is None:
        raise _unknown(ask)
    return answer


def _unknown(ask: Ask) -> Problem:
    up_to = f" up to sequence {ask.until:,}" if ask.at else ""
    return Problem(
        404,
        f"nothing names a request {_id(ask)[:200]}{up_to}",
        why="it never asked this instance, or the projection begins later",
        hint="the list of requests can be searched by a part of their ids",
    )


async def _commands(ask: Ask, _answer: object) -> list[str]:
    return [ask.command("request", "show", name=_id(ask)), ask.command("why-miss", name=_id(ask))]


async def _with_why(ask: Ask, _story: RequestStory) -> dict[str, object]:
    why = await why_miss(ask.projection, _id(ask), until=ask.until, instance=ask.instance)
    twins = [links.request_twin(ask.instance, _id(ask), at=ask.at), links.why_twin(ask.instance, _id(ask), at=ask.at)]
    return {"why": why, "twins": twins}


def _title(ask: Ask) -> str:
    return f"Request {_id(ask)[:80]}"


VIEWS = [
    View(path=path, template="request.html", answer=_story, commands=_commands, title=_title, context=_with_why)
    for path in ("/i/{instance}/requests/{id}", "/i/{instance}/request")
]
WHY_TWINS = [
    View(path=path, template="", answer=_why, commands=_commands, title=_title, context=nothing_more)
    for path in ("/i/{instance}/requests/{id}/why-miss", "/i/{instance}/why-miss")
]
"""The second answer of the page; it has no page of its own."""
