"""`kvbm request show`: the story of one request."""

from __future__ import annotations

import asyncio

from kvbm_nats.cli.moments import clock
from kvbm_nats.cli.output import write_table, write_words
from kvbm_nats.cli.source import MomentOptions, opened, seq_of
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.explain import request_story
from kvbm_nats.explain.answers import RequestStory
from kvbm_nats.explain.words import blocks, found_in_words, span


def show(request: str, /, *, json: Json = False, source: MomentOptions | None = None) -> bool:
    """What a request asked for, found, moved, registered and let go, and what was evicted for it.

    Exit code 0: it is known. 1: nothing names it.

    Args:
        request: its name
        json: one JSON object, for machines
        source: what is read
    """
    return asyncio.run(_show(request, source or MomentOptions(), json=json))


async def _show(request: str, options: MomentOptions, *, json: bool) -> bool:
    async with opened(options) as projection:
        story = await request_story(
            projection, request, until=await seq_of(projection, options.at), instance=options.instance
        )
    if json:
        write_json(story)
    elif story is None:
        write_words(f"nothing names a request {request}")
    else:
        _tell(story)
    return story is not None


def _tell(story: RequestStory) -> None:
    state = "open" if story.is_open else f"over: {story.ended}"
    write_words(f"request {story.request} of {', '.join(story.instances)}, {state}", style="bold")
    found = found_in_words(story.found, story.by_engine)
    write_words(f"asked       {blocks(story.look_ups, 'time')}, for {blocks(story.asked)}: found {found}")
    write_words(f"registered  {blocks(story.registered)}; {blocks(story.evicted_for)} evicted to make room for it")
    lasted = f"{clock(story.first_us)} to {clock(story.last_us)}, {span(story.last_us - story.first_us)}"
    write_words(f"from        {lasted}")
    rows = [
        (
            f"{each.seq:,}" if each.seq == each.last_seq else f"{each.seq:,}-{each.last_seq:,}",
            clock(each.at_us),
            span(each.took_us) if each.last_seq > each.seq else "",
            each.said,
        )
        for each in story.events
    ]
    write_table(("seq", "time", "took", "what happened"), rows, text=("what happened",))
    if story.more:
        write_words(f"{story.more:,} earlier events are not listed")
