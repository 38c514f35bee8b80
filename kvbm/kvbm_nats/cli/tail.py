"""`kvbm tail`: the events as they come, a line each."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import Annotated, Literal

from cyclopts import Parameter
from msgspec import Raw

from kvbm_events.codec import decode
from kvbm_events.log import Entry
from kvbm_events.schema import AnyEvent, Attached, Opened, TierName
from kvbm_events.schema.errors import InvalidCommand, InvalidEvent
from kvbm_events.subjects import ALL_TIERS, instance_of, tier_of
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.moments import clock
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.text import Json, printable, write_json, write_line
from kvbm_nats.explain.words import sentence
from kvbm_nats.replay import parse_moment
from kvbm_nats.replay.export import Line
from kvbm_nats.replay.tail import BACK_MAX, entries_between, last_entries, seq_of_moment

LAST_MAX = 10_000
EventName = Literal[
    "Opened",
    "Attached",
    "Allocated",
    "Registered",
    "Noted",
    "Matched",
    "Released",
    "OffloadStarted",
    "OffloadCompleted",
    "OffloadFailed",
    "OnboardStarted",
    "OnboardCompleted",
    "OnboardFailed",
    "Evicted",
]


Moment = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


class _Filter:
    """Which entries are shown: all that are given must fit."""

    def __init__(self, tier: str | None, events: tuple[str, ...], reason: str | None, request: str | None) -> None:
        self._tier, self._events, self._reason, self._request = tier, set(events), reason, request

    def __call__(self, entry: Entry) -> bool:
        is_there = self._tier in {None, tier_of(entry.subject)}
        if not is_there and tier_of(entry.subject) != ALL_TIERS:
            return False
        if is_there and not (self._events or self._reason or self._request):
            return True
        try:
            event = decode(entry.data)
        except InvalidEvent:
            return False
        return (
            (is_there or self._tier in _described(event))
            and (not self._events or type(event).__name__ in self._events)
            and (not self._reason or getattr(event, "reason", "") == self._reason)
            and (not self._request or getattr(event, "request", "") == self._request)
        )


def _described(event: AnyEvent) -> set[TierName]:
    """The tiers that an event of the whole instance says something of: what they are, or what is in them."""
    match event:
        case Opened():
            return {each.tier for each in event.tiers}
        case Attached():
            return {each.tier for each in event.contents}
        case _:
            return set()


def tail(
    *,
    last: Annotated[int, Parameter(name=["--last", "-n"])] = 10,
    since: Moment = None,
    at: Moment = None,
    follow: bool = True,
    tier: TierName | None = None,
    event: Annotated[tuple[EventName, ...], Parameter(negative_iterable="")] = (),
    reason: str | None = None,
    request: str | None = None,
    json: Json = False,
    nats_url: Annotated[str, Parameter(env_var="KVBM_NATS_URL")] = "nats://127.0.0.1:4222",
    instance: Annotated[str | None, Parameter(env_var="KVBM_INSTANCE")] = None,
) -> None:
    """The last events of the log, and then each one as it comes, until Ctrl-C.

    With --at, the last ones as of that moment, and nothing more.

    Args:
        last: how many of the past; with --since all from there on
        since: begin after this moment, in the forms of --at
        at: as of a log sequence, a time (2026-11-24T12:04:31, 12:04:31) or ago (-30s, -2h)
        follow: go on with what comes
        tier: only events of this tier, and those that say what it is or has in it: Opened, Attached
        event: only events of this type; again for another
        reason: only evictions, releases and failures with this reason
        request: only events of this request, and evictions for it
        json: one object a line, as `kvbm replay --export` writes them
        nats_url: where the log is
        instance: only this model replica; all if left out
    """
    if not 0 <= last <= LAST_MAX:
        raise InvalidCommand(f"the last {last} events", why=f"0 to {LAST_MAX:,}", hint="--since begins at any moment")
    options = NatsOptions(nats_url=nats_url, instance=instance or "default")
    wanted = _Filter(tier, event, reason, request)
    asyncio.run(_tail(options, instance, wanted, last=last, since=since, at=at, follow=follow, json=json))


async def _tail(
    options: NatsOptions,
    instance: str | None,
    wanted: _Filter,
    *,
    last: int,
    since: str | None,
    at: str | None,
    follow: bool,
    json: bool,
) -> None:
    now = datetime.now().astimezone()
    log = await connect_log(options)
    try:
        end = await seq_of_moment(log, parse_moment(at, now) if at else None)
        if since:
            begin = await seq_of_moment(log, parse_moment(since, now))
        else:
            entries = await last_entries(log, instance, wanted, count=last, until=end)
            _show(entries, json=json)
            if len(entries) < last and end > BACK_MAX:
                sys.stderr.write(f"kvbm: those are all of the last {BACK_MAX:,} events; --since looks further back\n")
            begin = end
        until = end if at or not follow else None
        async for batch in entries_between(log, instance, wanted, after=begin, until=until):
            _show(batch, json=json)
    finally:
        await log.close()


def _show(entries: list[Entry], *, json: bool) -> None:
    for entry in entries:
        if json:
            write_json(Line(seq=entry.seq, subject=entry.subject, event=Raw(entry.data)))
        else:
            write_line(_line(entry))
    sys.stdout.flush()


def _line(entry: Entry) -> str:
    try:
        event = decode(entry.data)
    except InvalidEvent as flaw:
        return printable(f"{entry.seq:>9,}  {instance_of(entry.subject)}  {flaw.what}")
    return printable(f"{entry.seq:>9,}  {clock(event.at_us)}  {instance_of(entry.subject)}  {sentence(event)}")
