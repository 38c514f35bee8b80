"""What look-ups asked for and found, in short: those of an instance within a range, which grows as it is asked about."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import NamedTuple

import msgspec
from msgspec import Struct

from kvbm_events.schema import KEY_DIGITS, Found
from kvbm_nats.projection import JOURNAL_LIMIT, Projection

READ_MAX = 200_000
"""Look-ups of an instance that are read."""


class Asked(NamedTuple):
    """A look-up: its priority, how many blocks of the prompt it reached, and the last one that was found in a tier."""

    seq: int
    priority: int
    reached: int
    last: str


class _Body(Struct, kw_only=True):
    start: int = 0
    asked: int
    found: list[Found] = []
    missed: str = ""
    unnamed: int = 0
    priority: int = 50


class LookUps:
    """The look-ups of an instance from one sequence to another."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._after = self._until = 0
        self._all: list[Asked] = []

    async def cover(self, projection: Projection, after: int, until: int) -> None:
        """Let the range have `after < seq ≤ until`, unless that is too many."""
        if not self._until:
            self._after = self._until = until
        if after < self._after:
            self._all = await self._read(projection, after, self._after) + self._all
            self._after = after
        if until > self._until:
            self._all += await self._read(projection, self._until, until)
            self._until = until

    def between(self, after: int, until: int, least: int) -> list[Asked] | None:
        """Those with `after < seq < until` of at least a priority; None where there are too many to know."""
        if len(self._all) >= READ_MAX:
            return None
        start, end = bisect_right(self._all, after, key=_seq_of), bisect_left(self._all, until, key=_seq_of)
        return [each for each in self._all[start:end] if each.priority >= least]

    async def _read(self, projection: Projection, after: int, until: int) -> list[Asked]:
        found: list[Asked] = []
        while after < until and len(self._all) + len(found) < READ_MAX:
            rows = await projection.journal(
                self._instance, types=["Matched"], after=after, until=until, limit=JOURNAL_LIMIT
            )
            found += [_asked(row.seq, row.body) for row in rows if row.applied_seq is not None]
            if len(rows) < JOURNAL_LIMIT:
                break
            after = rows[-1].seq
        return found


_seq_of = attrgetter("seq")


def _asked(seq: int, body: str) -> Asked:
    event = msgspec.json.decode(body, type=_Body)
    reached = event.start + event.asked - len(event.missed) // KEY_DIGITS - event.unnamed
    return Asked(seq, event.priority, reached, event.found[-1].last if event.found else "")
