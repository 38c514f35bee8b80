"""request_story: what a request asked for, found, moved, registered and let go, and what others lost for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kvbm_events.schema import (
    Evicted,
    Matched,
    Opened,
    Registered,
    Released,
    TierName,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
    to_slots,
    total,
)
from kvbm_nats.explain.answers import Event, RequestStory
from kvbm_nats.explain.look_up import Told
from kvbm_nats.explain.words import found_by_engine, freed, from_where, sentence
from kvbm_nats.projection import Projection

EVENTS_MAX = 1000
"""Events of a request that are listed, the newest ones."""


async def request_story(
    projection: Projection, request: str, *, until: int, instance: str | None = None, limit: int = EVENTS_MAX
) -> RequestStory | None:
    """The request's story up to and with a sequence; None where nothing up to there names it."""
    rows = await projection.stories([request], until)
    story = [Told.of(row) for row in rows if instance in {None, row.instance}]
    if not story:
        return None
    events = _grouped(story)
    found = Counter[TierName]()
    asked = look_ups = by_engine = registered = evicted = 0
    for told in story:
        match told.event:
            case Matched():
                look_ups, asked = look_ups + 1, asked + told.event.asked
                found.update({part.tier: part.blocks for part in told.event.found})
                by_engine += found_by_engine(told.event)
            case Registered():
                registered += total(told.event.slots)
            case Evicted():
                evicted += total(told.event.slots)
            case _:
                pass
    ended = _ended(story) or await _dropped(projection, story[-1], until)
    return RequestStory(
        request=request,
        as_of_seq=until,
        instances=sorted({told.row.instance for told in story}),
        is_open=not ended,
        ended=ended,
        first_us=story[0].row.at_us,
        last_us=story[-1].row.at_us,
        look_ups=look_ups,
        asked=asked,
        found=dict(found),
        by_engine=by_engine,
        registered=registered,
        evicted_for=evicted,
        events=events[-limit:],
        more=max(0, len(events) - limit),
    )


async def _dropped(projection: Projection, last: Told, until: int) -> str:
    """Whether an owner's restart ended it; empty if none did."""
    rows = await projection.journal(last.row.instance, types=["Opened"], after=last.row.seq, until=until)
    opened = [told.event for told in map(Told.of, rows) if told.row.applied_seq is not None]
    dropped = any(isinstance(event, Opened) and event.requests == "dropped" for event in opened)
    return "its owner was restarted" if dropped else ""


def _ended(story: Sequence[Told]) -> str:
    """Why it let go of everything, unless it came back; empty while it is open."""
    for told in reversed(story):
        match told.event:
            case Released(tier=""):
                return told.event.reason
            case Matched(held=False) | Evicted() | TransferCompleted() | TransferFailed():
                continue  # what was under way for it may end when it is long over
            case _:
                return ""
    return "it only asked"


def _grouped(story: Sequence[Told]) -> list[Event]:
    """An event for each entry, but the end of a transfer goes with its beginning."""
    events: list[Event] = []
    begun: dict[tuple[str, str], Told] = {}
    doubtful: set[tuple[str, str, int]] = set()
    for told in story:
        row = told.row
        if isinstance(told.event, TransferStarted):
            begun[row.instance, told.event.transfer] = told
            continue
        if isinstance(told.event, TransferFailed):
            slots = {(row.instance, told.event.transfer, slot) for slot in to_slots(told.event.slots)}
            if slots <= doubtful:
                events.append(_event(told, told, freed(told.event)))
                continue
            if not told.event.stopped:
                doubtful |= slots
        start = begun.get((row.instance, row.transfer or ""))
        events.append(_event(start or told, told, _whole(start, told)))
    over = {(told.row.instance, told.row.transfer) for told in story if not isinstance(told.event, TransferStarted)}
    events += [_event(told, told, sentence(told.event)) for place, told in begun.items() if place not in over]
    return sorted(events, key=lambda event: (event.seq, event.last_seq))


def _whole(start: Told | None, told: Told) -> str:
    if start is None or not isinstance(start.event, TransferStarted):
        return sentence(told.event)
    return f"{from_where(start.event)} → {start.event.tier}: {sentence(told.event)}"


def _event(first: Told, last: Told, said: str) -> Event:
    row = last.row
    return Event(
        seq=first.row.seq,
        last_seq=row.seq,
        at_us=first.row.at_us,
        took_us=row.at_us - first.row.at_us,
        instance=row.instance,
        type=row.type,
        tier=row.tier,
        blocks=row.blocks,
        request=row.request or "",
        said=said,
    )
