"""An event as people read it: runs as slots, columns as one line a block, the owner's clock as a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from kvbm_events.schema import KEY_DIGITS, AnyEvent, Runs, to_slots, total
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.text import printable

BLOCKS_MAX = 1 << 16
"""The most slots that are listed: a damaged event may name any number of them in a few bytes."""
RUNS = ("source_slots", "slots")
"""Fields that are expanded to slots."""
DIGITS = {"keys": KEY_DIGITS, "missed": KEY_DIGITS, "checksums": 16}
"""Fields that are expanded to words of so many hex digits."""
_COLUMNS = {"source_slots": "from slot", "slots": "slot", "keys": "key", "checksums": "checksum"}
_NO_FIELD_LINE = {"type", "epoch", "n", "at_us", "at", "existing", *_COLUMNS}
_START = datetime(1970, 1, 1, tzinfo=UTC)


def expand(event: AnyEvent) -> dict[str, object]:
    """All fields of the event, the defaults too; runs and packed strings as lists, and the time as ISO 8601.

    Raises:
        InvalidCommand: the event names more slots than `BLOCKS_MAX`.
    """
    return {
        "type": type(event).__name__,
        **msgspec.structs.asdict(event),
        **_columns(event),
        "at": _at(event.at_us),
    }


def as_lines(event: AnyEvent) -> Iterator[str]:
    """The expanded event as text: a head, a line a field, a line a block.

    Raises:
        InvalidCommand: as `expand`.
    """
    fields = {name: value for name, value in expand(event).items() if name not in _NO_FIELD_LINE}
    width = max(map(len, fields))
    yield f"{type(event).__name__} {event.epoch}.{event.n} at {_at(event.at_us)}"
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            yield f"  {name:{width}}  {_text(item)}".rstrip()
    yield from _block_lines(event)


def _block_lines(event: AnyEvent) -> Iterator[str]:
    existing = dict(getattr(event, "existing", ()))
    columns = {name: column for name, column in _columns(event).items() if name in _COLUMNS and column}
    for position, cells in enumerate(zip(*columns.values(), strict=False)):
        words = [f"{_COLUMNS[name]} {cell}" for name, cell in zip(columns, cells, strict=True)]
        if position in existing:
            words.append(f"already in slot {existing[position]}")
        yield "  " + "  ".join(words)


def _columns(event: AnyEvent) -> dict[str, list[int] | list[str]]:
    columns: dict[str, list[int] | list[str]] = {}
    for name in RUNS:
        if hasattr(event, name):
            columns[name] = _slots(getattr(event, name))
    for name, digits in DIGITS.items():
        if hasattr(event, name):
            packed: str = getattr(event, name)
            columns[name] = [packed[start : start + digits] for start in range(0, len(packed), digits)]
    return columns


def _slots(runs: Runs) -> list[int]:
    if total(runs) > BLOCKS_MAX:
        raise InvalidCommand(
            f"an event of {total(runs)} slots is not expanded",
            why=f"the limit is {BLOCKS_MAX}",
            hint="read the runs in the JSON itself",
        )
    return to_slots(runs)


def _at(at_us: int) -> str:
    try:
        return (_START + timedelta(microseconds=at_us)).isoformat(timespec="microseconds")
    except OverflowError:
        return f"{at_us} us"


def _text(item: object) -> str:
    return printable(item) if isinstance(item, str) else msgspec.json.encode(item).decode()
