"""Which part of every block a rank has: tensor parallel divides the heads, pipeline parallel divides the layers.

Where a model has fewer heads than tensor parallel has ranks, as an MLA latent has one, each head is in several ranks.
"""

from __future__ import annotations

from typing import Self

from msgspec import Struct

from kvbm_events.schema.errors import InvalidCommand


class Slice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rank of `tp * pp`.

    :ivar tp: ranks that share the heads of a layer
    :ivar pp: stages that share the layers
    """

    tp: int = 1
    pp: int = 1
    tp_rank: int = 0
    pp_rank: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.tp_rank < self.tp and 0 <= self.pp_rank < self.pp):
            raise ValueError(f"there is no slice {self}")

    @classmethod
    def of_rank(cls, rank: int, ranks: int, pp: int = 1) -> Self:
        """The slice of a rank, as vLLM counts ranks: those of a stage stand together.

        Raises:
            InvalidCommand: the ranks do not divide into `pp` stages, or there is no such rank.
        """
        if pp < 1 or ranks % pp or not 0 <= rank < ranks:
            raise InvalidCommand(
                f"rank {rank} of {ranks} in {pp} stages",
                why="ranks count from 0, and every stage of pipeline parallel has as many of them",
            )
        tp = ranks // pp
        return cls(tp=tp, pp=pp, tp_rank=rank % tp, pp_rank=rank // tp)

    @property
    def rank(self) -> int:
        """Its number among all slices."""
        return self.pp_rank * self.tp + self.tp_rank

    @property
    def ranks(self) -> int:
        """How many slices there are."""
        return self.tp * self.pp

    def layers(self, count: int, group: str) -> range:
        """Which of a group's layers the rank has.

        Raises:
            InvalidCommand: they do not divide.
        """
        if count % self.pp:
            raise InvalidCommand(
                f"{count} layers of group {group!r} do not divide into pp={self.pp} stages",
                why="every stage has as many layers of each group, so that ranks need not be told which are theirs",
                hint=f"choose a divisor of {count}",
            )
        share = count // self.pp
        return range(self.pp_rank * share, (self.pp_rank + 1) * share)

    def heads(self, count: int, group: str) -> range:
        """Which of a group's heads the rank has.

        Raises:
            InvalidCommand: neither do the heads divide into the ranks, nor the ranks into the heads.
        """
        if count % self.tp and self.tp % count:
            raise InvalidCommand(
                f"{count} heads of group {group!r} do not divide into tp={self.tp} ranks",
                why="every rank has as many heads, and every head is in as many ranks",
                hint=f"choose a divisor or a multiple of {count}",
            )
        share = max(1, count // self.tp)
        first = self.tp_rank * count // self.tp
        return range(first, first + share)


WHOLE = Slice()
"""Of a block that is in one rank."""
