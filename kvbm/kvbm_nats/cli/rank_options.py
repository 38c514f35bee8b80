"""Which rank a command is for, of how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.reports import MAX_RANKS
from kvbm_tiers.slicing import Slice


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RankOptions:
    """Which slice of every block is meant, as vLLM counts: the ranks of a stage stand together."""

    rank: Annotated[int, Parameter(help="Which slice of every block it holds, from 0.")] = 0
    ranks: Annotated[int, Parameter(help="How many slices there are.")] = 1
    pp: Annotated[
        int, Parameter(help="Stages of pipeline parallel: they divide the layers, and a stage's ranks its heads.")
    ] = 1

    def part(self) -> Slice:
        """The slice.

        Raises:
            InvalidCommand: there are too many ranks, no such rank, or the stages differ in size.
        """
        if self.ranks > MAX_RANKS:
            raise InvalidCommand(f"{self.ranks} ranks", why=f"an instance has up to {MAX_RANKS}")
        return Slice.of_rank(self.rank, self.ranks, self.pp)
