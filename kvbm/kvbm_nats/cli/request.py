"""`kvbm request`: the story of one, and a list of those that asked lately."""

from __future__ import annotations

import asyncio

from kvbm_nats.cli.moments import clock
from kvbm_nats.cli.output import write_table, write_words
from kvbm_nats.cli.source import MomentOptions, opened, seq_of
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.explain import recent_requests, request_story
from kvbm_nats.explain.answers import RecentRequests, RequestStory
from kvbm_nats.explain.recent import Order
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


def list_(
    *,
    containing: str = "",
    order: Order = "recent",
    limit: int = 50,
    json: Json = False,
    source: MomentOptions | None = None,
) -> bool:
    """The requests that asked lately: what they asked for, found and missed.

    Exit code 0: there are some. 1: none asked, or none has that text in its name.

    Args:
        containing: only those with this text in their name
        order: the last one first, or the one that missed most
        limit: how many at most
        json: one JSON object, for machines
        source: what is read
    """
    answer = asyncio.run(_list(source or MomentOptions(), containing, order, limit))
    if json:
        write_json(answer)
    else:
        _tell_list(answer)
    return bool(answer.requests)


async def _list(options: MomentOptions, containing: str, order: Order, limit: int) -> RecentRequests:
    async with opened(options) as projection:
        return await recent_requests(
            projection,
            until=await seq_of(projection, options.at),
            instance=options.instance,
            containing=containing,
            order=order,
            limit=limit,
        )


def _tell_list(answer: RecentRequests) -> None:
    rows = [
        (
            each.request,
            each.instance,
            f"{each.seq:,}",
            clock(each.at_us),
            f"{each.asked:,}",
            found_in_words(each.found),
            f"{each.missed:,}",
        )
        for each in answer.requests
    ]
    write_table(("request", "instance", "seq", "time", "asked", "found", "missed"), rows, text=("instance", "found"))
    write_words(
        f"of {blocks(answer.look_ups, 'look-up')}, from sequence {answer.after_seq + 1:,} to {answer.until_seq:,}"
    )
    if answer.more:
        write_words(f"{answer.more:,} more: --limit")
