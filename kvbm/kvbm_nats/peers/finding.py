"""What a look-up may go on with, behind all that an instance's own tiers have: blocks that peers have written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from kvbm_nats.peers.blocks import PeerBlocks
from kvbm_statemachine import State
from kvbm_tiers import OBJECT_TIER


class Piece(NamedTuple):
    """Keys in a row, from `start` up to `end`, that one writer has; `writer` is None where they are in our own g4."""

    start: int
    end: int
    writer: PeerBlocks | None


def pieces_beyond(
    state: State, keys: Sequence[str], start: int, peers: Iterable[PeerBlocks], hidden: Collection[str]
) -> list[Piece]:
    """What of `keys` there is from `start` on: the longest run that a peer has, and so on from its end.

    What is on its way to our own g4, or there and not to be found yet (`hidden`), is nobody's: it ends the row.
    """
    index, coming = state.tiers[OBJECT_TIER].lineage.index, state.incoming[OBJECT_TIER]
    theirs = [*peers]
    pieces: list[Piece] = []
    at = start
    while at < len(keys):
        end, best = _own_end(index, keys, at, hidden), None
        if end == at and keys[at] not in coming and keys[at] not in index:
            reached = [(peer.reach(keys, at), peer) for peer in theirs if keys[at] in peer.sums]
            end, best = max(reached, key=lambda each: each[0], default=(at, None))
            end = _free_end(index, coming, keys, at, end)
        if end == at:
            break
        pieces.append(Piece(at, end, best))
        at = end
    return pieces


def _own_end(index: dict[str, int], keys: Sequence[str], at: int, hidden: Collection[str]) -> int:
    return next((end for end in range(at, len(keys)) if keys[end] not in index or keys[end] in hidden), len(keys))


def _free_end(index: dict[str, int], coming: Collection[str], keys: Sequence[str], at: int, limit: int) -> int:
    return next((end for end in range(at, limit) if keys[end] in index or keys[end] in coming), limit)
