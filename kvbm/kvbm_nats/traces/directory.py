"""A directory of sessions, interleaved in time as if their users had come one after the other.

Only the sessions that are under way are in memory: each file is read when its first request is due.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf
from pathlib import Path

from kvbm_nats.traces.claude_code import Session
from kvbm_nats.traces.errors import InvalidTrace
from kvbm_nats.traces.files import opened, rest_of
from kvbm_nats.traces.request import TraceRequest

STAGGER_S = 60.0
"""Seconds from the start of one session to the start of the next, unless told otherwise."""

_Open = list[tuple[float, int, TraceRequest, Iterator[TraceRequest]]]
"""A heap of (time, number of the session, its next request, the requests after that)."""


def read(directory: Path, *, stagger_s: float = STAGGER_S) -> Iterator[TraceRequest]:
    """The requests of all `*.json` and `*.json.gz` in the directory, in the order of time.

    Sessions start in the order of their file names, `stagger_s` seconds apart.

    Raises:
        InvalidTrace: there is no such file, one of them is no session, or two have the same trace id.
    """
    under_way: _Open = []
    paths: dict[str, Path] = {}
    for number, path in enumerate(_files(directory)):
        start_s = number * stagger_s
        yield from _play(under_way, until_s=start_s)
        with opened(path) as stream:
            session = Session(rest_of(stream, path, b""), path)
        if (other := paths.setdefault(session.name, path)) != path:
            raise InvalidTrace(f"{path} has the trace id of {other}", why=f"both are {session.name!r}")
        _push(under_way, number, session.requests(start_s))
    yield from _play(under_way, until_s=inf)


def _files(directory: Path) -> list[Path]:
    files = sorted(path for path in directory.iterdir() if path.name.endswith((".json", ".json.gz")))
    if not files:
        raise InvalidTrace(
            f"{directory} has no sessions",
            why="it holds no *.json or *.json.gz",
            hint="name a directory of sessions, or one trace file",
        )
    return files


def _play(under_way: _Open, *, until_s: float) -> Iterator[TraceRequest]:
    while under_way and under_way[0][0] < until_s:
        _, number, request, more = heappop(under_way)
        yield request
        _push(under_way, number, more)


def _push(under_way: _Open, number: int, requests: Iterator[TraceRequest]) -> None:
    request = next(requests, None)
    if request is not None:
        heappush(under_way, (request.at_s, number, request, requests))
