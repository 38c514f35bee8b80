"""`kvbm decode`: one event's JSON, expanded to one line a block."""

from __future__ import annotations

import sys

from kvbm_events.codec import decode as decode_event
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.expand import as_lines, expand
from kvbm_nats.cli.text import Json, write_json, write_line

_BODY_BYTES_MAX = 8 << 20


def decode(body: str | None = None, /, *, json: Json = False) -> None:
    """Expand one event's JSON: every slot and key on a line of its own.

    Made for the NATS command line: `nats stream view KVBM --translate "kvbm decode"`.

    Args:
        body: the event; read from stdin where it is left out
        json: the expanded event as one JSON object, for machines
    """
    event = decode_event(body.encode("utf-8", "surrogateescape") if body is not None else _from_stdin())
    if json:
        write_json(expand(event))
    else:
        for line in as_lines(event):
            write_line(line)


def _from_stdin() -> bytes:
    if sys.stdin.isatty():
        raise InvalidCommand("there is no event to decode", hint="give it as an argument or on stdin")
    body = sys.stdin.buffer.read(_BODY_BYTES_MAX + 1)
    if len(body) > _BODY_BYTES_MAX:
        raise InvalidCommand("stdin is not one event", why=f"it has more than {_BODY_BYTES_MAX >> 20} MiB")
    return body
