"""Loading a trace of any format that is known here; the format is told from the content, not from the name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from kvbm_nats.traces import claude_code, directory, mooncake
from kvbm_nats.traces.errors import InvalidTrace
from kvbm_nats.traces.files import JSON_ERRORS, invalid_json, lines_of, opened, rest_of
from kvbm_nats.traces.request import TraceRequest

EXPECTED = "a Mooncake record a line, or a coding-agent session with `requests`"


def load_trace(
    path: Path,
    *,
    block_tokens: int = mooncake.BLOCK_TOKENS,
    stagger_s: float = directory.STAGGER_S,
    scope: str = "",
) -> Iterator[TraceRequest]:
    """The requests of a trace, read as they are asked for.

    Args:
        path: a file, plain or gzip, or a directory of coding-agent sessions
        block_tokens: tokens of a block where the trace does not say
        stagger_s: seconds between the starts of a directory's sessions
        scope: what the keys of a Mooncake trace are bound to; the file's name up to its first dot unless given

    Raises:
        InvalidTrace: while iterating: the path cannot be read, or what is there is no trace.
    """
    if path.is_dir():
        yield from directory.read(path, stagger_s=stagger_s)
        return
    with opened(path) as stream:
        lines = lines_of(stream, path)
        first = next(lines, None)
        if first is None:
            raise InvalidTrace(f"{path} is empty", why=f"expected {EXPECTED}")
        number, line = first
        if _is_session(line, f"{path}:{number}"):
            yield from claude_code.Session(rest_of(stream, path, b"\n" * (number - 1) + line), path).requests()
        else:
            name = scope or re.sub(r"[^\w-]", "_", path.name.partition(".")[0], flags=re.ASCII) or "trace"
            yield from mooncake.read(chain([first], lines), path, scope=name, block_tokens=block_tokens)


class _Shape(Struct):
    """The fields that tell the formats apart."""

    requests: Raw | UnsetType = UNSET
    hash_ids: Raw | UnsetType = UNSET
    timestamp: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Shape).decode


def _is_session(line: bytes, where: str) -> bool:
    """Whether a first line begins a session, not a Mooncake record."""
    if line.strip() == b"{":
        return True  # a session that was printed over several lines
    try:
        shape = _decode(line)
    except JSON_ERRORS as error:
        raise invalid_json(where, error, EXPECTED) from error
    if shape.requests is UNSET and shape.hash_ids is UNSET and shape.timestamp is UNSET:
        raise InvalidTrace(f"{where} is of no known format", why=f"expected {EXPECTED}")
    return shape.requests is not UNSET
