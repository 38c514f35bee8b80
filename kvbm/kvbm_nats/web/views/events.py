"""`/i/INSTANCE/events`: the last events, as `kvbm tail` has them."""

from __future__ import annotations

from msgspec import Raw, Struct

from kvbm_events.subjects import subject_of
from kvbm_nats.explain.look_up import Told
from kvbm_nats.explain.words import sentence
from kvbm_nats.projection import JournalRow
from kvbm_nats.replay.export import Line
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.view import Ask, View

SHOWN = 100
SHOWN_MAX = 1000


class Shown(Struct, frozen=True, kw_only=True):
    """An event as a line of a table."""

    seq: int
    at_us: int
    type: str
    tier: str
    request: str
    said: str


def shown(row: JournalRow) -> Shown:
    """An entry of the journal as a line."""
    event = Told.of(row).event
    return Shown(
        seq=row.seq,
        at_us=row.at_us,
        type=row.type,
        tier=row.tier or "",
        request=row.request or "",
        said=sentence(event),
    )


async def recent_events(ask: Ask, limit: int) -> list[Shown]:
    """The instance's last events up to the moment, the oldest first."""
    return [shown(row) for row in await _rows(ask, limit)]


async def _rows(ask: Ask, limit: int) -> list[JournalRow]:
    rows = await ask.projection.journal(ask.instance, until=ask.until, limit=limit, newest_first=True)
    return rows[::-1]


def _limit(ask: Ask) -> int:
    limit = ask.number("limit", SHOWN)
    if not 1 <= limit <= SHOWN_MAX:
        raise Problem(
            400, f"{limit:,} events", why=f"a page has 1 to {SHOWN_MAX:,}", hint="`kvbm tail --since` has all"
        )
    return limit


async def _answer(ask: Ask) -> list[Line]:
    return [
        Line(seq=row.seq, subject=subject_of(row.instance, Told.of(row).event), event=Raw(row.body.encode()))
        for row in await _rows(ask, _limit(ask))
    ]


async def _commands(ask: Ask, _answer: list[Line]) -> list[str]:
    return [ask.command("tail", of_log=True, last=_limit(ask))]


async def _context(ask: Ask, _answer: list[Line]) -> dict[str, object]:
    return {"events": await recent_events(ask, _limit(ask)), "limit_max": SHOWN_MAX}


VIEW = View(
    path="/i/{instance}/events",
    template="events.html",
    answer=_answer,
    commands=_commands,
    title=lambda ask: f"Events of {ask.instance}",
    context=_context,
)
