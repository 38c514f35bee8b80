"""`kvbm what-if`: recorded requests under other policies, capacities and admissions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import structs

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.output import progress_to, write_table, write_words
from kvbm_nats.cli.source import seq_of
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.plan import parse_plan
from kvbm_nats.projection import open_projection
from kvbm_nats.replay import parse_moment
from kvbm_nats.traces.mooncake import BLOCK_TOKENS
from kvbm_nats.whatif import Answer, Difference, Recorded, answer, parse_cases
from kvbm_nats.whatif.picture import draw
from kvbm_nats.whatif.sources import from_file, from_log, from_projection
from kvbm_tiers import preset

KEY_SHOWN = 8
TRACE_TIERS = "g1=4096,g2=16384"


def what_if(
    file: Path | None = None,
    /,
    *,
    policy: str = "",
    capacity: Annotated[tuple[str, ...], Parameter(negative_iterable="")] = (),
    admission: str = "",
    tiers: str = "",
    layout: str = "llama-8b",
    block_tokens: int = BLOCK_TOKENS,
    picture: Path | None = None,
    projection: Annotated[str | None, Parameter(env_var="KVBM_PROJECTION")] = None,
    at: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    json: Json = False,
    nats: NatsOptions | None = None,
) -> None:
    """Play what was recorded again under other plans: what would have been found, moved and evicted.

    Every combination of policies, capacities and admissions is a world of its own, decided by the owner's own code, with
    transfers that take no time. The first is the recorded plan; the others are compared with it. The same recording and
    plans give the same answer, to the byte.

    Args:
        file: an exported log, or a trace; the instance's live log if left out
        policy: eviction policies, with commas: lineage-lru, lru, fifo, s3fifo, arc, w-tinylfu
        capacity: sizes of a tier, `g2=1x,2x,4x` or `g2=16384,32768`; again for another tier
        admission: of the tiers below the first, with commas: write_through, selective/2, on_evict
        tiers: the plan to begin with; the recorded one if left out, and g1=4096,g2=16384 for a trace
        layout: what a block is, for the bytes that moved: llama-8b, deepseek-v3, gpt-oss-20b, tiny
        block_tokens: tokens of a block, where the trace does not say
        picture: also draw the hit ratios into this file, .png or .svg
        projection: the projection that has the recording, instead of the live log
        at: play only up to this moment: a log sequence, 2026-11-24T12:04:31, 12:04:31 or -30s
        json: one JSON object, for machines
        nats: whose log, and where
    """
    options = nats or NatsOptions()
    recorded = _load(file, options, block_tokens, projection, at)
    plan = parse_plan(tiers) if tiers else recorded.tiers or parse_plan(TRACE_TIERS)
    cases = parse_cases(plan, policies=policy, capacities=capacity, admissions=admission)
    block_bytes = preset(layout).block_bytes
    with progress_to(len(cases), f"playing {len(cases)} worlds") as advance:
        answers = answer(recorded, cases, on_progress=advance)
    if picture:
        draw(answers, picture, title=f"{file.name if file else options.instance}: what if")
    if json:
        write_json(_as_json(recorded, answers, block_bytes))
    else:
        _tell(recorded, answers, block_bytes)


def _load(
    file: Path | None, options: NatsOptions, block_tokens: int, projection: str | None, at: str | None
) -> Recorded:
    if file:
        if at:
            raise InvalidCommand("--at of a file", why="a file is played whole", hint="leave --at out")
        return from_file(file, instance=options.instance, block_tokens=block_tokens)
    return asyncio.run(_from_projection(projection, options.instance, at) if projection else _from_log(options, at))


async def _from_projection(url: str, instance: str, at: str | None) -> Recorded:
    async with open_projection(url) as projection, projection.one_moment():
        return await from_projection(projection, instance, until=await seq_of(projection, at))


async def _from_log(options: NatsOptions, at: str | None) -> Recorded:
    log = await connect_log(options)
    try:
        until = parse_moment(at, datetime.now().astimezone()) if at else None
        return await from_log(log, options.instance, until=until)
    finally:
        await log.close()


def _as_json(recorded: Recorded, answers: Sequence[Answer], block_bytes: int) -> dict[str, object]:
    return {
        "recorded_found": recorded.found,
        "unnamed": recorded.unnamed,
        "block_bytes": block_bytes,
        "worlds": [
            {
                "name": each.case.name,
                **structs.asdict(each),
                "hits": each.hits,
                "moved_bytes": sum(each.moved.values()) * block_bytes,
            }
            for each in answers
        ],
    }


def _tell(recorded: Recorded, answers: Sequence[Answer], block_bytes: int) -> None:
    base = answers[0]
    names: list[TierName] = [spec.tier for spec in base.case.tiers]
    rows = [
        [
            each.case.name,
            _share(each.hits, each.asked),
            f"{100 * (each.hits - base.hits) / max(1, each.asked):+.1f}",
            *(_share(each.found.get(name, 0), each.asked) for name in names),
            _share(each.bound, each.asked),
            f"{sum(each.moved.values()) * block_bytes / 1e9:,.1f}",
            f"{sum(each.evicted.values()):,}",
        ]
        for each in answers
    ]
    write_table(("world", "hits", "points", *names, "possible", "GB moved", "evicted"), rows)
    plan = ", ".join(f"{spec.tier}={spec.capacity} {spec.policy}" for spec in base.case.tiers)
    write_words(f"{base.asked:,} blocks asked for; the first world is {plan}")
    if recorded.tiers:
        write_words(f"the recorded run found {recorded.found:,} of them, {_share(recorded.found, base.asked)}")
    if recorded.unnamed:
        write_words(f"{recorded.unnamed:,} missed blocks have no name in the log and are in no figure")
    for each in answers[1:]:
        for difference in each.differences[:1]:
            write_words(f"{each.case.name}: {_told(difference)}")


def _told(difference: Difference) -> str:
    here, there = _blocks(difference.blocks, difference.keys), _blocks(difference.base_blocks, difference.base_keys)
    return f"differs first at {difference.request}: evicts {here}, where the plan evicts {there}"


def _blocks(count: int, keys: Sequence[str]) -> str:
    """`g1 0f3c9a…`, `g1 0f3c9a… and 12 more`, `nothing`."""
    if not count:
        return "nothing"
    return f"{keys[0][: len('g1 ') + KEY_SHOWN]}…" + (f" and {count - 1:,} more" if count > 1 else "")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
