"""Blocks of an event as pieces: neighbours both in their tier and among the event's keys, so that SQL can count them up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from kvbm_events.schema import MAX_BLOCKS, Run

KEY_BYTES = 16


class Piece(NamedTuple):
    """`size` blocks from number `first` on, whose keys begin with key number `offset`. At most `MAX_BLOCKS`."""

    first: int
    size: int
    offset: int


class Named(NamedTuple):
    """Blocks with their keys, as the event at `seq` tells them."""

    seq: int
    pieces: list[Piece]
    keys: bytes

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Each block's number and key."""
        for first, size, offset in self.pieces:
            for i in range(size):
                at = (offset + i) * KEY_BYTES
                yield first + i, self.keys[at : at + KEY_BYTES]


def pieces_of_runs(base: int, runs: Iterable[Run]) -> list[Piece]:
    """The blocks of all runs, with one key each, in their order. `base` is the number of the tier's first slot."""
    pieces: list[Piece] = []
    offset = 0
    for first, count in runs:
        pieces += [
            Piece(base + first + start, min(count - start, MAX_BLOCKS), offset + start)
            for start in range(0, count, MAX_BLOCKS)
        ]
        offset += count
    return pieces


def pieces_of_slots(base: int, slots: list[int], positions: Iterable[int]) -> list[Piece]:
    """The blocks at these positions of `slots`, whose keys have the same positions."""
    pieces: list[Piece] = []
    start = size = 0
    chosen = list(positions)
    for before, at in pairwise([*chosen, -1]):
        if not size:
            start = before
        size += 1
        if at != before + 1 or slots[at] != slots[before] + 1 or size == MAX_BLOCKS:
            pieces.append(Piece(base + slots[start], size, start))
            size = 0
    return pieces
