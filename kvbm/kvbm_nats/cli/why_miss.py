"""`kvbm why-miss`: why a request did not find its blocks, or what most requests miss theirs for."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.moments import clock
from kvbm_nats.cli.output import progress_to, write_table, write_words
from kvbm_nats.cli.source import MomentOptions, opened, seq_of
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.explain import miss_causes, why_miss
from kvbm_nats.explain.answers import Loss, MissCauses, WhyMiss
from kvbm_nats.explain.miss_causes import LOOK_UPS_MAX
from kvbm_nats.explain.words import SHOWN_DIGITS, blocks, found_in_words, from_block


def why_miss_command(
    request: str | None = None,
    /,
    *,
    top: Annotated[bool, Parameter(negative="")] = False,
    since: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    limit: int = LOOK_UPS_MAX,
    json: Json = False,
    source: MomentOptions | None = None,
) -> bool:
    """Why a request's last look-up did not find all its blocks: the answer in one line, and the evidence below.

    With --top, for all look-ups of a range: causes by share, tokens lost, worst offenders.
    Exit code 0: a miss is explained. 1: there was none: the request never asked, or missed nothing.

    Args:
        request: its name; left out with --top
        top: explain all look-ups of a range instead
        since: with --top: begin after this moment, in the forms of --at
        limit: with --top: explain so many look-ups at most, the newest ones
        json: one JSON object, for machines
        source: what is read
    """
    options = source or MomentOptions()
    if request is not None and not top:
        return asyncio.run(_one(options, request, json=json))
    if top and request is None:
        return asyncio.run(_top(options, since=since, limit=limit, json=json))
    raise InvalidCommand("one request, or --top", hint="kvbm why-miss REQUEST, or kvbm why-miss --top --since -1h")


async def _one(options: MomentOptions, request: str, *, json: bool) -> bool:
    async with opened(options) as projection:
        until = await seq_of(projection, options.at)
        answer = await why_miss(projection, request, instance=options.instance, until=until)
    if json:
        write_json(answer)
    elif answer is None:
        write_words(f"{request} never looked anything up")
    else:
        _tell(answer)
    return answer is not None and bool(answer.losses)


def _tell(answer: WhyMiss) -> None:
    if not answer.losses:
        write_words(f"{answer.request} missed nothing: all {blocks(answer.asked)} were there", style="bold")
    else:
        write_words(f"{answer.losses[0].cause}: {answer.losses[0].said}", style="bold")
    found = found_in_words(answer.found, answer.by_engine)
    which = f", look-up {answer.look_up} of {answer.look_ups}" if answer.look_ups > 1 else ""
    write_words(
        f"{answer.request} asked {answer.instance} for {blocks(answer.asked)}{from_block(answer.start)} at {clock(answer.at_us)} "
        f"(seq {answer.seq:,}{which}): found {found}; missed {answer.missed:,}"
    )
    for number, loss in enumerate(answer.losses):
        _tell_loss(loss, is_first=not number)


def _tell_loss(loss: Loss, *, is_first: bool) -> None:
    tokens = f", {loss.tokens:,} tokens" if loss.tokens is not None else ""
    if is_first:
        write_words("")
    write_words(f"{loss.cause}: {blocks(loss.blocks)}{tokens}, from {loss.key[:SHOWN_DIGITS]} on", style="bold")
    if not is_first:
        write_words(loss.said)
    if loss.evidence:
        rows = [(f"{fact.seq:,}", clock(fact.at_us), fact.said) for fact in loss.evidence]
        write_table(("seq", "time", "what happened"), rows, text=("what happened",))


async def _top(options: MomentOptions, *, since: str | None, limit: int, json: bool) -> bool:
    if limit < 1:
        raise InvalidCommand(f"{limit} look-ups", why="at least one is explained")
    async with opened(options) as projection:
        until, after = await seq_of(projection, options.at), await seq_of(projection, since) if since else 0
        with progress_to(limit, "explaining") as advance:
            answer = await miss_causes(
                projection, after=after, until=until, instance=options.instance, limit=limit, on_progress=advance
            )
    if json:
        write_json(answer)
    else:
        _tell_top(answer)
    return bool(answer.causes)


def _tell_top(answer: MissCauses) -> None:
    missed = (
        f"{answer.with_misses:,} of {answer.look_ups:,} look-ups missed {blocks(answer.missed)} of {answer.asked:,}"
    )
    write_words(f"{missed}, from sequence {answer.after_seq + 1:,} to {answer.until_seq:,}", style="bold")
    if not answer.causes:
        return
    rows = [
        (each.cause, f"{each.share:.1%}", f"{each.blocks:,}", _tokens(each.tokens), f"{each.look_ups:,}")
        for each in answer.causes
    ]
    write_table(("cause", "share", "blocks", "tokens", "look-ups that it hit first"), rows)
    if answer.worst:
        worst = [
            (each.said, f"{each.look_ups:,}", f"{each.blocks:,}", _tokens(each.tokens), each.example)
            for each in answer.worst
        ]
        write_table(("worst", "look-ups", "blocks", "tokens", "kvbm why-miss"), worst, text=("worst", "kvbm why-miss"))


def _tokens(tokens: int | None) -> str:
    return "-" if tokens is None else f"{tokens:,}"
