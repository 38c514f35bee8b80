"""How every side of a comparison is timed, in whichever interpreter it runs. Standard library only."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Stopwatch:
    """Nanoseconds a block, by operation.

    :ivar took_ns: what was measured so far
    """

    def __init__(self) -> None:
        self.took_ns: dict[str, float] = {}

    def time(self, operation: str, blocks: int, call: Callable[[A], R], arguments: Iterable[A]) -> list[R]:
        """Call with each argument in turn; the answers. The time is divided by `blocks`."""
        start = perf_counter_ns()
        answers = [call(argument) for argument in arguments]
        self.took_ns[operation] = (perf_counter_ns() - start) / blocks
        return answers


def settle() -> None:
    """Collect what earlier rounds left, and take what is there now out of the collector's sight.

    vLLM's engine does this when it has started. The collector stays on.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
