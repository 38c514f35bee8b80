"""How both sides of a comparison are timed, in whichever interpreter they run. Standard library only.

The time is the thread's own CPU time: what a busy neighbour takes away is not counted, on either side.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable
from time import thread_time_ns
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Stopwatch:
    """Nanoseconds a block, by operation.

    :ivar took_ns: what was measured so far
    """

    def __init__(self) -> None:
        self.took_ns: dict[str, float] = {}

    def time(self, operation: str, blocks: int, call: Callable[[A], object], arguments: Iterable[A]) -> None:
        """Call with each argument in turn; the time is divided by `blocks`."""
        calls = map(call, arguments)
        start = thread_time_ns()
        deque(calls, maxlen=0)
        self.took_ns[operation] = (thread_time_ns() - start) / blocks

    def time_answers(self, operation: str, blocks: int, call: Callable[[A], R], arguments: Iterable[A]) -> list[R]:
        """The same, and the answers are kept: more to do for the collector, so only where they are needed."""
        calls = map(call, arguments)
        start = thread_time_ns()
        answers = list(calls)
        self.took_ns[operation] = (thread_time_ns() - start) / blocks
        return answers


def settle() -> None:
    """Collect what earlier rounds left, and take what is there now out of the collector's sight.

    vLLM's engine does this when it has started. The collector stays on.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
