"""How events, places and times are said in one line, the same in every answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kvbm_events.schema import (
    KEY_DIGITS,
    TIERS,
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
    TierName,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
    total,
)

SHOWN_DIGITS = 12
"""Of a key, where people read it: `kvbm block show` takes them for the whole."""
_BLOCK_TOKENS = re.compile(r"(?:^|;)\s*(?:block_tokens|block_size|page_size)=(\d+)\s*(?:;|$)")
_MS, _MIN, _HOUR, _DAY = 1e3, 60e6, 3600e6, 86_400e6


def blocks(count: int, what: str = "block") -> str:
    """`1 block`, `1,204 blocks`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def span(us: float) -> str:
    """A time that passed, as people say it: `3.1 ms`, `12.4 s`, `4 min 3 s`."""
    if us < _MS:
        return f"{us:.0f} µs"
    if us < 1e3 * _MS:
        return f"{us / 1e3:.3g} ms"
    if us < _MIN:
        return f"{us / 1e6:.1f} s"
    if us < _HOUR:
        return f"{us // _MIN:.0f} min {us % _MIN / 1e6:.0f} s"
    if us < _DAY:
        return f"{us // _HOUR:.0f} h {us % _HOUR / _MIN:.0f} min"
    return f"{us // _DAY:.0f} d {us % _DAY / _HOUR:.0f} h"


def tokens_of(namespace: str) -> int | None:
    """How many tokens a block has, where the namespace says it as `block_tokens=16` or by an engine's own word for it."""
    found = _BLOCK_TOKENS.search(namespace)
    return int(found[1]) if found and int(found[1]) else None


def why_evicted(event: Evicted) -> str:
    """Reason and actor of an eviction, and for whom."""
    whose = f"; written by {event.writer}" if event.writer else ""
    if event.reason == "capacity":
        return f"capacity, {made_room(event)}{whose}"
    return f"{event.reason}, by {event.actor}{whose}"


def made_room(event: Evicted) -> str:
    """Who evicted for want of room, and for whom. An engine does not say; below it, room is made for what comes down."""
    whom = event.request or ("" if event.tier == TIERS[0] else "an offload")
    return f"{event.actor} made room" + (f" for {whom}" if whom else "")


def sentence(event: AnyEvent) -> str:
    """What an event says, in one line without its time and instance."""
    return _SAYS[type(event)](event)


def _opened(event: Opened) -> str:
    tiers = ", ".join(f"{spec.tier}={spec.capacity}" for spec in event.tiers)
    return f"epoch {event.epoch} opened by {event.owner} with {tiers}; kept {', '.join(event.kept) or 'nothing'}"


def _matched(event: Matched) -> str:
    by_engine = found_by_engine(event)
    missed = event.asked - sum(part.blocks for part in event.found) - by_engine
    found = found_in_words({part.tier: part.blocks for part in event.found}, by_engine)
    return f"{event.request} asked for {blocks(event.asked)}{from_block(event.start)}: found {found}; missed {missed:,}"


def from_block(start: int) -> str:
    """Where a look-up begins, if not with the prompt: one of a group of layers that attend to a window."""
    return f" from block {start:,} on" if start else ""


def found_by_engine(event: Matched) -> int:
    """Blocks of a look-up that an engine found in its own cache, while the log did not have them there."""
    missed = len(event.missed) // KEY_DIGITS + event.unnamed
    return event.asked - missed - sum(part.blocks for part in event.found)


def found_in_words(found: Mapping[TierName, int], by_engine: int = 0) -> str:
    """`1,024 in g1, 12 in g2`, with what the engine found by itself; `none`."""
    parts = [f"{count:,} in {tier}" for tier, count in found.items()]
    return ", ".join([*parts, f"{by_engine:,} by the engine itself"] if by_engine else parts) or "none"


def _registered(event: Registered) -> str:
    there = f", {len(event.existing):,} of them there already" if event.existing else ""
    return f"{blocks(total(event.slots))} registered in {event.tier} by {event.request}{there}"


def _released(event: Released) -> str:
    if event.slots:
        return f"{event.request} gave back {blocks(total(event.slots), 'slot')} of {event.tier}: {event.reason}"
    return f"{event.request} let go of {event.tier or 'everything'}: {event.reason}"


def _started(event: TransferStarted) -> str:
    waiting = f", {event.request} waits" if event.request else ""
    source = from_where(event)
    return f"{blocks(total(event.slots))} began their way {source} → {event.tier} ({event.transfer}){waiting}"


def from_where(event: TransferStarted) -> str:
    """The tier that blocks come from, and whose objects they are if another instance's: `g4 of replica-1`."""
    return f"{event.source} of {event.writer}" if event.writer else event.source


def _completed(event: TransferCompleted) -> str:
    return f"{blocks(total(event.slots))} arrived in {event.tier} ({event.transfer})"


def _failed(event: TransferFailed) -> str:
    if event.actor:
        return freed(event)
    doubt = "" if event.stopped else "; their slots stay closed until the mover is known to have stopped"
    return f"{blocks(total(event.slots))} did not arrive in {event.tier} ({event.transfer}): {event.reason}{doubt}"


def freed(event: TransferFailed) -> str:
    """What the second failure of the same slots says: they leave the quarantine."""
    return (
        f"{blocks(total(event.slots), 'slot')} of {event.tier} left quarantine ({event.transfer}): {why_freed(event)}"
    )


def why_freed(event: TransferFailed) -> str:
    """Why slots may leave the quarantine, and on whose word where it is not the mover's."""
    return f"{event.reason}, on the word of {event.actor}" if event.actor else event.reason


def _attached(event: Attached) -> str:
    parts = [f"{each.tier} has {each.name}" + (f" ({each.why})" if each.why else "") for each in event.contents]
    return f"rank {event.rank} attached by {event.holder}: {', '.join(parts)}"


_SAYS: dict[type[AnyEvent], Callable[[Any], str]] = {
    Opened: _opened,
    Attached: _attached,
    Allocated: lambda event: f"{blocks(total(event.slots), 'slot')} of {event.tier} given to {event.request}",
    Registered: _registered,
    Noted: lambda event: f"{blocks(total(event.slots))} of {event.writer}'s noted in {event.tier}",
    Matched: _matched,
    Released: _released,
    OffloadStarted: _started,
    OnboardStarted: _started,
    OffloadCompleted: _completed,
    OnboardCompleted: _completed,
    OffloadFailed: _failed,
    OnboardFailed: _failed,
    Evicted: lambda event: f"{blocks(total(event.slots))} evicted from {event.tier}: {why_evicted(event)}",
}
