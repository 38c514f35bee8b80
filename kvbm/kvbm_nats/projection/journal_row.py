"""Rows of `journal`: the columns that can be asked for, picked out of each event, and the event itself as it was stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvbm_events.log import Entry
from kvbm_events.schema import (
    KEY_DIGITS,
    Allocated,
    AnyEvent,
    Attached,
    Evicted,
    Matched,
    Noted,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    OnboardCompleted,
    OnboardFailed,
    OnboardStarted,
    Opened,
    Registered,
    Released,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
    total,
)
from kvbm_nats.projection.changes import Context, Row

Columns = tuple[str | None, str | None, str | None, int, str | None, str | None]
"""Tier, request, transfer, blocks, reason, parent."""


def journal_row(entry: Entry, instance_id: int, event: AnyEvent, applied_seq: int | None, context: Context) -> Row:
    """A row of `journal`."""
    seq, _, data = entry
    kind = type(event)
    tier, request, transfer, blocks, reason, parent = _COLUMNS[kind](event)
    return (
        seq,
        instance_id,
        applied_seq,
        event.epoch,
        event.n,
        event.at_us,
        kind.__name__,
        tier,
        request or context.request,
        transfer,
        blocks,
        reason,
        context.seen,
        bytes.fromhex(parent) if parent is not None else None,
        data.decode(),
    )


def _found(event: Matched) -> Columns:
    return None, event.request, None, sum([found.blocks for found in event.found]), None, None


def _released(event: Released) -> Columns:
    return event.tier or None, event.request, None, total(event.slots), event.reason, None


def _registered(event: Registered) -> Columns:
    """Its parent is the key before the first that is new: that is where the request went another way than others. None if none is."""
    known = [at for at, _ in event.existing]
    start = next((place for place, at in enumerate(known) if at != place), len(known))
    keys = event.keys
    parent: str | None = keys[(start - 1) * KEY_DIGITS : start * KEY_DIGITS] if start else event.parent
    if start * KEY_DIGITS == len(keys):
        parent = None
    return event.tier, event.request, None, total(event.slots), None, parent


def _started(event: TransferStarted) -> Columns:
    return event.tier, event.request or None, event.transfer, total(event.slots), None, event.parent


def _completed(event: TransferCompleted) -> Columns:
    return event.tier, None, event.transfer, total(event.slots), None, None


def _failed(event: TransferFailed) -> Columns:
    return event.tier, None, event.transfer, total(event.slots), event.reason or None, None


_COLUMNS: dict[type[AnyEvent], Callable[[Any], Columns]] = {
    Opened: lambda _: (None, None, None, 0, None, None),
    Attached: lambda _: (None, None, None, 0, None, None),
    Allocated: lambda event: (event.tier, event.request, None, total(event.slots), None, None),
    Registered: _registered,
    Noted: lambda event: (event.tier, None, None, total(event.slots), None, event.parent),
    Matched: _found,
    Released: _released,
    OffloadStarted: _started,
    OffloadCompleted: _completed,
    OffloadFailed: _failed,
    OnboardStarted: _started,
    OnboardCompleted: _completed,
    OnboardFailed: _failed,
    Evicted: lambda event: (event.tier, event.request or None, None, total(event.slots), event.reason, None),
}
