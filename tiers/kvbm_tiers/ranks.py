"""Blocks written by so many ranks, read by as many others: which heads a rank has, and where their bytes are.

Only `universal` packing can be read so: there a rank's heads are one run of each group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.layout import Group, Layout


class Piece(NamedTuple):
    """A run of bytes that a rank needs: in whose block, from where, where to, how many."""

    rank: int
    offset: int
    place: int
    size: int


def heads_of(heads: int, rank: int, ranks: int) -> range:
    """The heads of a model that one rank has: its share, or one that it shares with others where there are more ranks.

    Raises:
        InvalidCommand: they cannot be dealt out evenly.
    """
    fewer, more = sorted((heads, ranks))
    if more % fewer or not 0 <= rank < ranks:
        raise InvalidCommand(
            f"{heads} heads for rank {rank} of {ranks}", why="heads are dealt out evenly, ranks count from 0"
        )
    if ranks > heads:
        return range(rank * heads // ranks, rank * heads // ranks + 1)
    return range(rank * heads // ranks, (rank + 1) * heads // ranks)


def layout_of(whole: Layout, rank: int, ranks: int) -> Layout:
    """The layout of one rank's blocks. Raises as `heads_of`."""
    groups = [replace(group, heads=len(heads_of(group.heads, rank, ranks))) for group in whole.groups]
    return replace(whole, groups=tuple(groups))


def pieces_for(whole: Layout, rank: int, ranks: int, *, written_by: int) -> list[Piece]:
    """What makes up the block of a rank, out of blocks that `written_by` ranks wrote.

    Raises:
        InvalidCommand: heads cannot be dealt out evenly, or the packing is not universal.
    """
    if whole.packing != "universal":
        raise InvalidCommand(
            f"blocks of {written_by} ranks read by {ranks}",
            why=f"their packing is {whole.packing}, in which a rank's heads are scattered",
            hint="offload with packing='universal'",
        )
    found, place = list[Piece](), 0
    starts = dict.fromkeys(range(written_by), 0)
    for group in whole.groups:
        for writer, at, count in _shared(group, rank, ranks, written_by):
            size = count * _head_bytes(group)
            found.append(Piece(writer, starts[writer] + at * _head_bytes(group), place, size))
            place += size
        for writer in starts:
            starts[writer] += len(heads_of(group.heads, writer, written_by)) * _head_bytes(group)
    return found


def _shared(group: Group, rank: int, ranks: int, written_by: int) -> Iterator[tuple[int, int, int]]:
    """Who wrote the heads of a rank: writer, the first of them in its block, how many in a row."""
    wanted = heads_of(group.heads, rank, ranks)
    taken = wanted.start
    for writer in range(written_by):
        has = heads_of(group.heads, writer, written_by)
        if taken in has and taken < wanted.stop:
            stop = min(has.stop, wanted.stop)
            yield writer, taken - has.start, stop - taken
            taken = stop


def _head_bytes(group: Group) -> int:
    return group.block_bytes // group.heads
