"""`kvbm diff`: what came and went between two moments, or what differs between two projections."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.output import write_table, write_words
from kvbm_nats.cli.source import SourceOptions, opened, seq_of
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.explain import contents_now, difference, differences_between
from kvbm_nats.explain.answers import Difference, Slots
from kvbm_nats.explain.difference import KEYS_MAX
from kvbm_nats.projection import open_projection

SHOWN = 10
"""Keys, requests and transfers that are named to people."""
Side = Annotated[str, Parameter(allow_leading_hyphen=True)]


def diff(a: Side, b: Side, /, *, json: Json = False, source: SourceOptions | None = None) -> bool:
    """What each tier got and lost between two moments; or what is now in one projection and not in the other.

    Exit code 0: nothing differs. 1: something does.

    Args:
        a: a moment (a log sequence, 2026-11-24T12:04:31, 12:04:31 or -30s), or a projection (a URL or a file)
        b: another of the same kind
        json: one JSON object an instance, for machines
        source: what is read, where moments are compared
    """
    options = source or SourceOptions()
    projections = [side for side in (a, b) if _is_projection(side)]
    if len(projections) == 1:
        raise InvalidCommand(
            f"{a} and {b} cannot be compared",
            why="one is a moment, the other a projection",
            hint=f"a projection is a URL or a file that is there: {projections[0]} is one, {b if projections == [a] else a} is not",
        )
    found = asyncio.run(_of_projections(a, b, options.instance) if projections else _of_moments(options, a, b))
    for each in found:
        if json:
            write_json(each)
        else:
            _tell(each)
    return all(each.is_equal for each in found)


def _is_projection(side: str) -> bool:
    return "://" in side or Path(side).exists()


async def _of_projections(a: str, b: str, instance: str | None) -> list[Difference]:
    async with open_projection(a) as first, open_projection(b) as second:
        before, after = [{each.instance: each for each in await contents_now(side)} for side in (first, second)]
    names = sorted(name for name in before.keys() | after.keys() if instance in {None, name})
    return [difference(before.get(name), after.get(name)) for name in names]


async def _of_moments(options: SourceOptions, a: str, b: str) -> list[Difference]:
    async with opened(options) as projection:
        first, second = await seq_of(projection, a), await seq_of(projection, b)
        return await differences_between(projection, first, second, options.instance)


def _tell(found: Difference) -> None:
    way = f"{found.before or 'nothing'} → {found.after or 'nothing'}"
    if found.is_equal:
        write_words(f"{found.instance}, {way}: nothing differs", style="bold")
        return
    write_words(f"{found.instance}, {way}", style="bold")
    write_table(
        ("tier", "capacity", "registered", "arrived", "left", "stayed", "moved"),
        [
            (
                tier.tier,
                _both(tier.before, tier.after, "capacity"),
                _both(tier.before, tier.after, "registered"),
                f"+{tier.arrived:,}",
                f"-{tier.left:,}",
                f"{tier.stayed:,}",
                f"{tier.moved:,}",
            )
            for tier in found.tiers
        ],
    )
    for tier in found.tiers:
        _name(f"+ {tier.tier}", tier.arrived_keys, tier.arrived)
        _name(f"- {tier.tier}", tier.left_keys, tier.left)
    _name("+ request", found.requests_opened, len(found.requests_opened))
    _name("- request", found.requests_over, len(found.requests_over))
    _name("+ transfer", found.transfers_begun, len(found.transfers_begun))
    _name("- transfer", found.transfers_over, len(found.transfers_over))


def _both(before: Slots | None, after: Slots | None, name: str) -> str:
    old, new = (f"{getattr(each, name):,}" if each else "none" for each in (before, after))
    return old if old == new else f"{old} → {new}"


def _name(what: str, names: list[str], count: int) -> None:
    for name in names[:SHOWN]:
        write_words(f"{what} {name}")
    if count > SHOWN:
        write_words(f"{what} … and {count - SHOWN:,} more; --json names them, up to {KEYS_MAX:,}")
