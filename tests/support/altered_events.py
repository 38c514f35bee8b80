"""Events as nobody wrote them: each field of a real one changed in the ways in which a log could be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict, replace

from kvbm_events.schema import (
    AnyEvent,
    Contents,
    Found,
    OffloadCompleted,
    OffloadFailed,
    OnboardCompleted,
    OnboardFailed,
    Opened,
    Runs,
    TransferStarted,
)
from kvbm_statemachine import State
from support.chained_keys import key_at

_TWINS: dict[type[AnyEvent], type[AnyEvent]] = {
    OffloadCompleted: OnboardCompleted,
    OnboardCompleted: OffloadCompleted,
    OffloadFailed: OnboardFailed,
    OnboardFailed: OffloadFailed,
}


def misplaced(event: AnyEvent) -> Iterator[AnyEvent]:
    """The event with a number or an epoch that cannot be the next: never legal."""
    yield replace(event, n=event.n + 1)
    yield replace(event, n=event.n - 1)
    yield replace(event, epoch=event.epoch - 1)
    if not isinstance(event, Opened):
        yield replace(event, epoch=event.epoch + 1)
        yield replace(event, n=0)


def altered(event: AnyEvent) -> Iterator[AnyEvent]:
    """The event in its place with one field changed: mostly illegal, but some changes make another legal event."""
    for name in event.__struct_fields__:
        yield from _with(event, name, *_others(name, getattr(event, name)))
    if type(event) in _TWINS:
        yield _TWINS[type(event)](**asdict(event))


def displaced(event: AnyEvent, state: State) -> AnyEvent:
    """The event as if it came next in this state, whatever it was written for."""
    if isinstance(event, Opened):
        return replace(event, epoch=state.epoch + 1)
    place = {"epoch": state.epoch, "n": state.n + 1}
    if isinstance(event, TransferStarted):
        place["transfer"] = f"{state.epoch}.{state.n + 1}"
    return replace(event, **place)


def _with(event: AnyEvent, name: str, *values: Any) -> Iterator[AnyEvent]:
    was = getattr(event, name)
    for value in values:
        if value != was:
            yield replace(event, **{name: value})


def _others(name: str, was: Any) -> list[Any]:
    """Other values for a field."""
    if name in {"slots", "source_slots"}:
        return list(_runs(was))
    if name == "checksums":
        return [was[16:], "f" * 16 + was[16:], "x" * len(was), was.upper()]
    if name in {"keys", "missed"}:
        return [was[32:], was[32:] + was[:32], key_at(9, 9) + was[32:], was + was[:32]]
    return _VALUES.get(name, [])


def _runs(runs: Runs) -> Iterator[Runs]:
    yield []
    yield runs + runs[:1]
    yield runs[::-1]
    for by in (-9, -1, 1, 9):
        yield [(first + by, count) for first, count in runs]
    for by in (-1, 1):
        yield [(first, count + by) for first, count in runs]


_VALUES: dict[str, list[Any]] = {
    "tier": ["", "g1", "g2", "g3", "g4"],
    "source": ["g1", "g2", "g3", "g4"],
    "request": ["", "r1"],
    "writer": ["", "a", "b"],
    "transfer": ["", "1.1", "1.9"],
    "parent": ["", key_at(0), key_at(9, 9)],
    "existing": [[], [(0, 0)], [(0, 1), (0, 1)], [(1, 0), (0, 1)], [(-1, 0)], [(99, 0)]],
    "found": [
        [Found(tier="g1", blocks=1, last=key_at(9, 9))],
        [Found(tier="g4", blocks=1, last=key_at(0))],
        [Found(tier="g1", blocks=1, last=key_at(0)), Found(tier="g1", blocks=1, last=key_at(0))],
    ],
    "held": [True, False],
    "stopped": [True, False],
    "reason": ["corrupt", "capacity", "operator"],
    "kept": [[], ["g1"], ["g2"], ["g4"], ["g1", "g1"]],
    "requests": ["kept", "dropped"],
    "namespace": ["another"],
    "rank": [-1, 0, 1],
    "contents": [
        [],
        [Contents(tier="g1", name="z")],
        [Contents(tier="g4", name="z")],
        [Contents(tier="g1", name="x")] * 2,
    ],
}
