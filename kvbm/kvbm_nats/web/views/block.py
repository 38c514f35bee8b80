"""`/i/INSTANCE/blocks/KEY`: a block's life. The first digits of its key are enough."""

from __future__ import annotations

from kvbm_nats.explain import block_life, whole_key
from kvbm_nats.explain.answers import BlockLife
from kvbm_nats.web.drawing import draw_life
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.view import Ask, View

EVENTS_MAX = 500


async def _answer(ask: Ask) -> BlockLife:
    key = await whole_key(ask.projection, ask.path["key"].lower())
    life = await block_life(ask.projection, key, until=ask.until, instance=ask.instance) if key else None
    if life is None:
        up_to = f" up to sequence {ask.until:,}" if ask.at else ""
        raise Problem(
            404,
            f"nothing names a block {ask.path['key'][:48]}{up_to}",
            why="no event of this instance that the projection has is about it",
            hint="give the first digits of a key, or look at a later moment",
        )
    return life


async def _commands(ask: Ask, answer: BlockLife) -> list[str]:
    return [ask.command("block", "show", answer.key, "--history")]


async def _context(_ask: Ask, answer: BlockLife) -> dict[str, object]:
    return {
        "picture": draw_life(answer),
        "shown_events": answer.events[-EVENTS_MAX:],
        "more": max(0, len(answer.events) - EVENTS_MAX),
    }


VIEW = View(
    path="/i/{instance}/blocks/{key}",
    template="block.html",
    answer=_answer,
    commands=_commands,
    title=lambda ask: f"Block {ask.path['key'][:12]}",
    context=_context,
)
