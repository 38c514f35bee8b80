"""`kvbm block show`: where a block is, and its whole life."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from kvbm_nats.cli.moments import bar, clock
from kvbm_nats.cli.output import write_table, write_words
from kvbm_nats.cli.source import MomentOptions, opened, seq_of
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.explain import block_life, whole_key
from kvbm_nats.explain.answers import BlockLife, Event, Stay
from kvbm_nats.explain.words import span

LATEST = 10
"""Events that are shown without --history, and stays beside those that last."""
BAR = 24


def show(
    key: str,
    /,
    *,
    history: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    source: MomentOptions | None = None,
) -> bool:
    """Where a block is, the tiers and instances that it was in, and what happened to it.

    Exit code 0: it is known. 1: nothing names it.

    Args:
        key: its key, or the first digits if no other key begins so
        history: its whole life, not the latest events only
        json: one JSON object with everything, for machines
        source: what is read
    """
    return asyncio.run(_show(key, source or MomentOptions(), history=history, json=json))


async def _show(key: str, options: MomentOptions, *, history: bool, json: bool) -> bool:
    async with opened(options) as projection:
        until = await seq_of(projection, options.at)
        whole = await whole_key(projection, key)
        life = await block_life(projection, whole, until=until, instance=options.instance) if whole else None
    if json:
        write_json(life)
    elif life is None:
        write_words(f"nothing names a block {key}" + (f" up to sequence {until:,}" if options.at else ""))
    else:
        _tell(life, history=history)
    return life is not None


def _tell(life: BlockLife, *, history: bool) -> None:
    write_words(f"block {life.key}, as of sequence {life.as_of_seq:,}, {clock(life.as_of_us)}", style="bold")
    parent = {None: "not known", "": "none: a prompt's first block"}.get(life.parent, life.parent)
    write_words(f"parent  {parent}")
    for place in life.places:
        since = f"since {clock(place.at_us)}, for {span(life.as_of_us - place.at_us)} (seq {place.seq:,})"
        whose = f", written by {place.writer}," if place.writer else ""
        write_words(f"is in   {place.tier} slot {place.slot} of {place.instance}{whose} {since}")
    if not life.places:
        write_words("is in   no tier")
    if life.stays:
        latest = life.stays[-LATEST:]
        lasting = [stay for stay in life.stays[:-LATEST] if stay.to_seq is None]
        _tell_stays(life, life.stays if history else lasting + latest)
    shown = life.events if history else life.events[-LATEST:]
    is_one = len({each.instance for each in life.events}) == 1
    write_table(
        ("seq", "time", "took", "what happened"),
        [
            (_seqs(each), clock(each.at_us), _took(each), each.said if is_one else f"{each.instance}: {each.said}")
            for each in shown
        ],
        text=("what happened",),
    )
    if len(shown) < len(life.events):
        write_words(f"{len(life.events) - len(shown):,} earlier events: --history")


def _tell_stays(life: BlockLife, stays: list[Stay]) -> None:
    first_us = min(stay.from_us for stay in stays)
    write_table(
        ("tier", "slot", "instance", "from", "for", "its life"),
        [
            (
                stay.tier,
                str(stay.slot),
                stay.instance,
                clock(stay.from_us),
                span((life.as_of_us if stay.to_us is None else stay.to_us) - stay.from_us),
                bar(
                    stay.from_us,
                    life.as_of_us if stay.to_us is None else stay.to_us,
                    first_us=first_us,
                    last_us=life.as_of_us,
                    width=BAR,
                ),
            )
            for stay in stays
        ],
        text=("instance",),
    )


def _seqs(event: Event) -> str:
    return f"{event.seq:,}" if event.seq == event.last_seq else f"{event.seq:,}-{event.last_seq:,}"


def _took(event: Event) -> str:
    return span(event.took_us) if event.last_seq > event.seq else ""
