"""export: a log, or one instance's part of it, as JSON lines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from kvbm_events.log import Log
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.replay.moment import Moment


class Line(Struct, frozen=True, kw_only=True):
    """One entry of the log; `event` is the event's own JSON, byte for byte."""

    seq: int
    subject: str
    event: Raw


async def export(
    log: Log,
    path: Path,
    *,
    instance: str | None = None,
    until: Moment | None = None,
    on_progress: Callable[[int], None] = lambda _events: None,
) -> int:
    """Write the entries up to the moment, or to the log's present end; how many.

    The file appears under its name when it is whole, and is the user's alone.

    Raises:
        InvalidCommand: the file is there already, or its folder is not.
        LogGap: the beginning of the log was trimmed.
    """
    part = _part_of(path)
    last = await log.last_seq(instance)
    end = last if until is None or until.seq is None else min(last, until.seq)
    written = 0
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        async for batch in log.read(instance, until=end):
            for entry in batch:
                if until and until.at_us is not None and _at_us(entry.data) > until.at_us:
                    continue
                line = Line(seq=entry.seq, subject=entry.subject, event=Raw(entry.data))
                file.write(msgspec.json.encode(line) + b"\n")
                written += 1
            on_progress(written)
    part.rename(path)
    return written


def _part_of(path: Path) -> Path:
    """Where the file is written until it is whole."""
    if path.exists():
        raise InvalidCommand(f"{path} is there already", hint="name another file, or remove it")
    if not path.parent.is_dir():
        raise InvalidCommand(f"{path.parent} is no folder", hint="make it first")
    return path.with_name(f"{path.name}.part")


class _Time(Struct):
    at_us: int


def _at_us(data: bytes) -> int:
    return msgspec.json.decode(data, type=_Time).at_us
