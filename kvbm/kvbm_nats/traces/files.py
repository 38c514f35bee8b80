"""Reading trace files: plain or gzip by their first bytes, and every failure as `InvalidTrace`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from kvbm_nats.traces.errors import InvalidTrace

RECORD_BYTES_MAX = 64 << 20
"""The most bytes of one record, unpacked: a line, or a session's file."""
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's content as a stream. What goes wrong while it is open comes out as `InvalidTrace`."""
    try:
        with path.open("rb") as raw:
            if raw.peek(len(_GZIP)).startswith(_GZIP):
                with gzip.open(raw) as unpacked:
                    yield cast("BinaryIO", unpacked)
            else:
                yield raw
    except EOFError as error:
        why = "its gzip stream ends in the middle"
        raise InvalidTrace(f"{path} is cut off", why=why, hint="fetch the file again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InvalidTrace(f"{path} is damaged", why=str(error), hint="fetch the file again") from error
    except OSError as error:
        raise InvalidTrace(f"{path} cannot be read", why=error.strerror or str(error)) from error


def lines_of(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, each with its number from 1."""
    for number in count(1):
        line = stream.readline(RECORD_BYTES_MAX + 1)
        if not line:
            return
        if len(line) > RECORD_BYTES_MAX:
            raise _too_long(f"{path}:{number}")
        if not line.isspace():
            yield number, line


def rest_of(stream: BinaryIO, path: Path, before: bytes) -> bytes:
    """`before` and all that follows it in the stream."""
    data = before + stream.read(RECORD_BYTES_MAX + 1)
    if len(data) > RECORD_BYTES_MAX:
        raise _too_long(str(path))
    return data


def _too_long(where: str) -> InvalidTrace:
    return InvalidTrace(f"{where} is too long", why=f"a record has at most {RECORD_BYTES_MAX >> 20} MiB")


def invalid_json(where: str, error: Exception, expected: str) -> InvalidTrace:
    """The error for bytes that a decoder of JSON refused."""
    kind = "has other fields or values than expected" if isinstance(error, msgspec.ValidationError) else "is not JSON"
    return InvalidTrace(f"{where} {kind}", why=f"{error}; expected {expected}")


JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a JSON decoder raises, whatever the bytes are."""
