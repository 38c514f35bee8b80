"""Events to bytes and back: JSON, one object an event, readable in the `nats` CLI.

Decoding is total: whatever the bytes are, the answer is an event or an `InvalidEvent`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from kvbm_events.schema import (
    MAX_CAPACITY,
    AnyEvent,
    Attached,
    Evicted,
    Matched,
    Noted,
    Registered,
    TransferCompleted,
    TransferStarted,
    is_packed,
    total,
)
from kvbm_events.schema.checksums import CHECKSUM_DIGITS, are_checksums
from kvbm_events.schema.errors import InvalidEvent
from kvbm_events.schema.keys import KEY_DIGITS

encode: Callable[[AnyEvent], bytes] = msgspec.json.Encoder().encode
"""An event as JSON bytes. About 10 ns a block."""

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_KNOWN = frozenset(cls.__name__ for cls in AnyEvent.__args__)


class UnknownEvent(InvalidEvent):
    """An event of a type that this version does not know: a strict reader stops, a tolerant one counts it."""


class _Tag(msgspec.Struct):
    type: str


def decode(data: bytes) -> AnyEvent:
    """The event in these bytes. Unknown fields are passed over: a newer writer may add some.

    Raises:
        UnknownEvent: the type is none of this schema's.
        InvalidEvent: anything else that is wrong with the bytes.
    """
    try:
        event = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(data, error) from error
    flaw = _flaw(event)
    if flaw:
        raise InvalidEvent(f"{type(event).__name__} {event.epoch}.{event.n} is damaged", why=flaw)
    return event


def _explain(data: bytes, error: Exception) -> InvalidEvent:
    try:
        kind = msgspec.json.decode(data, type=_Tag).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return InvalidEvent(f"{len(data)} bytes are not an event", why=str(error))
    if kind in _KNOWN:
        return InvalidEvent(f"a {kind} event is damaged", why=str(error))
    return UnknownEvent(
        f"event type {kind[:64]!r} is unknown",
        why="it was written by a newer version, or by another program",
        hint="upgrade kvbm-nats, or read with a tolerant reader, which counts and skips it",
    )


def _flaw(event: AnyEvent) -> str:
    """What is wrong inside a well-formed event: its columns must agree with each other."""
    if event.epoch < 1 or event.n < 0:
        return f"epoch {event.epoch}, n {event.n} is no position"
    match event:
        case Noted() | TransferStarted():
            flaw = _keys_flaw(event.keys, event.slots) or _checksums_flaw(event.checksums, event.slots)
        case Registered() | Evicted():
            flaw = _keys_flaw(event.keys, event.slots)
        case Matched():
            whole = is_packed(event.missed) and all(
                is_packed(f.last) and len(f.last) == KEY_DIGITS for f in event.found
            )
            flaw = "" if whole else "a key is not 32 lower-case hex digits"
        case Attached():
            flaw = _contents_flaw(event)
        case TransferCompleted():
            flaw = _checksums_flaw(event.checksums, event.slots)
        case _:
            flaw = ""
    return flaw or _runs_flaw(event)


def _contents_flaw(event: Attached) -> str:
    tiers = [each.tier for each in event.contents]
    if event.rank < 0 or not tiers or len(set(tiers)) < len(tiers) or not all(each.name for each in event.contents):
        return "a rank below 0, or not one name a tier"
    return ""


def _keys_flaw(keys: str, slots: list[tuple[int, int]]) -> str:
    if not is_packed(keys):
        return "its keys are not whole 32-digit lower-case hex"
    if len(keys) != KEY_DIGITS * total(slots):
        return f"{total(slots)} slots, but {len(keys) // KEY_DIGITS} keys"
    return ""


def _checksums_flaw(checksums: str, slots: list[tuple[int, int]]) -> str:
    if are_checksums(checksums, total(slots)):
        return ""
    return (
        f"{total(slots)} slots, but its {len(checksums)} digits of checksums are not {CHECKSUM_DIGITS} hex digits each"
    )


def _runs_flaw(event: AnyEvent) -> str:
    runs = getattr(event, "slots", ())
    if isinstance(event, TransferStarted):
        runs = [*runs, *event.source_slots]
    for first, count in runs:
        if first < 0 or count < 1 or first + count > MAX_CAPACITY:
            return f"[{first}, {count}] is not a run of slots"
    return ""
