"""`kvbm replay`: read an instance's log again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import Struct, structs

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema.errors import InvalidCommand, LogUnavailable
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.output import progress_to
from kvbm_nats.cli.text import Json, write_json, write_line
from kvbm_nats.projection.projector import Projector
from kvbm_nats.publisher import Publisher
from kvbm_nats.replay import Moment, Verdict, export, parse_moment, verify
from kvbm_nats.replay.verify import Claim


class Task(Struct, frozen=True, kw_only=True):
    """What one run of the command is to do."""

    verify: bool
    until: Moment | None
    into: str
    speed: float
    export: Path | None


def replay(
    *,
    verify: bool = False,
    until: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    into: str = "",
    speed: float = 0.0,
    export: Path | None = None,
    json: Json = False,
    nats: NatsOptions | None = None,
) -> bool:
    """Fold an instance's events from the beginning of its log, and say what they come to.

    Exit code 0: done, and equal where it was verified. 1: the log and what is live, or a snapshot, differ.

    Args:
        verify: compare with the live owner, if one answers, and with every snapshot; name the first difference
        until: stop at a log sequence, a time (2026-11-24T12:04:31 or 12:04:31) or ago (-30s, -2h)
        into: also fill a projection: sqlite:///FILE or postgresql+asyncpg://...
        speed: times the recorded pace; 0 is as fast as it goes
        export: also write the events to this file, a JSON object a line
        json: one JSON object, for machines
        nats: whose log, and where
    """
    if speed < 0:
        raise InvalidCommand(f"speed {speed:g}", why="time goes forward", hint="0 is as fast as it goes")
    options = nats or NatsOptions()
    moment = parse_moment(until, datetime.now().astimezone()) if until else None
    task = Task(verify=verify, until=moment, into=into, speed=speed, export=export)
    verdict = asyncio.run(_run(options, task))
    is_equal = verdict.is_equal if verify else not verdict.flaws
    if json:
        write_json({**structs.asdict(verdict), "equal": is_equal})
    else:
        _tell(verdict, verified=verify)
    return is_equal


async def _run(options: NatsOptions, task: Task) -> Verdict:
    log = await connect_log(options)
    try:
        live = await _ask_live(options) if task.verify and task.until is None else None
        last = await log.last_seq(options.instance)
        with progress_to(last, f"replaying {options.instance}") as advance:
            verdict = await _fold(log, options.instance, task, live, advance)
        if task.export:
            await export(log, task.export, instance=options.instance, until=task.until)
        if task.into:
            await Projector(log, task.into).run(until=verdict.seq)
        return verdict
    finally:
        await log.close()


async def _fold(
    log: JetStreamLog, instance: str, task: Task, live: Claim | None, advance: Callable[[int], None]
) -> Verdict:
    return await verify(
        log,
        instance,
        live=live,
        until=task.until,
        speed=task.speed,
        on_progress=lambda verdict: advance(verdict.seq),
    )


async def _ask_live(options: NatsOptions) -> Claim | None:
    """The live owner's word for its state; None where nobody answers."""
    try:
        async with await Publisher.connect(options.nats_url, options.instance) as publisher:
            status = await publisher.status(with_digest=True)
    except LogUnavailable:
        return None
    return Claim(who="the live owner", epoch=status.epoch, n=status.n, digest=status.digest)


def _tell(verdict: Verdict, *, verified: bool) -> None:
    write_line(
        f"{verdict.instance}: {verdict.events:,} events, {verdict.blocks:,} blocks, "
        f"up to {verdict.epoch}.{verdict.n} at sequence {verdict.seq:,}"
    )
    if verdict.began_at:
        write_line(f"the log was trimmed: the fold began with the snapshot at {verdict.began_at:,}")
    if verdict.stale or verdict.dropped:
        write_line(f"passed over: {verdict.stale:,} late or repeated, {verdict.dropped:,} never provable")
    write_line(f"digest {verdict.digest}")
    for flaw in verdict.flaws:
        write_line(f"integrity: {flaw}")
    if not verified:
        return
    if verdict.difference:
        write_line(f"differs: {verdict.difference}")
    elif verdict.compared:
        write_line(f"equal: {verdict.compared} compared")
    else:
        write_line("nothing to compare with: no owner answers, and there is no snapshot")
    for who in verdict.unchecked:
        write_line(f"not compared: {who}, which the fold did not pass")
