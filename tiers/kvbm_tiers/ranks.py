"""Blocks written by so many ranks, read by as many others: which bytes of whose block a rank needs.

Only `universal` packing can be read so: there a rank's heads are one run of each group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.layout import Group, Layout
from kvbm_tiers.slicing import Slice


class Piece(NamedTuple):
    """A run of bytes that a rank needs: in which rank's block of its stage, from where, where to, how many."""

    tp_rank: int
    offset: int
    place: int
    size: int


def pieces_for(whole: Layout, part: Slice, *, written_by: int) -> list[Piece]:
    """What makes up a rank's slice of a block, out of what `written_by` ranks of the same stage wrote.

    Raises:
        InvalidCommand: heads or layers do not divide, or the packing is not universal.
    """
    if whole.packing != "universal":
        raise InvalidCommand(
            f"blocks of {written_by} ranks read by {part.tp}",
            why=f"their packing is {whole.packing}, in which a rank's heads are scattered",
            hint="offload with packing='universal'",
        )
    found, place = list[Piece](), 0
    writers = [replace(part, tp=written_by, tp_rank=tp_rank) for tp_rank in range(written_by)]
    starts = [0] * written_by
    for group in whole.groups:
        head_bytes = len(part.layers(group.layers, group.name)) * group.outer * group.tokens * group.row_bytes
        for writer, first, count in _shared(group, part, writers):
            found.append(Piece(writer, starts[writer] + first * head_bytes, place, count * head_bytes))
            place += count * head_bytes
        starts = [
            start + len(writer.heads(group.heads, group.name)) * head_bytes
            for start, writer in zip(starts, writers, strict=True)
        ]
    return found


def _shared(group: Group, part: Slice, writers: list[Slice]) -> Iterator[tuple[int, int, int]]:
    """Who wrote the heads of a rank: writer, the first of them in its block, how many in a row."""
    wanted = part.heads(group.heads, group.name)
    taken = wanted.start
    for writer in writers:
        has = writer.heads(group.heads, group.name)
        if taken in has and taken < wanted.stop:
            stop = min(has.stop, wanted.stop)
            yield writer.tp_rank, taken - has.start, stop - taken
            taken = stop
