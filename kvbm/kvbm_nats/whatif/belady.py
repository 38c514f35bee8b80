"""The bound: how many hits a cache that knows the future could have had.

Belady's rule, per block: who is asked for again last goes first, be it the newcomer itself. Whoever asks for a block asks
for its parent too, so a parent is never needed later than its child; of blocks that are needed equally late the deeper
goes first. So the rule keeps prefixes whole by itself, and no policy finds more in the same number of slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from kvbm_nats.whatif.workload import Ask, Leave, Step

_NEVER = 1 << 60


def best_possible(steps: Sequence[Step], capacity: int) -> int:
    """Hits of all look-ups in `capacity` slots that start empty."""
    nexts = _next_asks(steps)
    resident: dict[str, int] = {}
    heap: list[tuple[int, int, str]] = []
    hits = 0
    for number, step in enumerate(steps):
        if isinstance(step, Leave):
            continue
        after = nexts[number]
        if isinstance(step, Ask):
            hits += sum(key in resident for key in step.keys)
        for depth, (key, when) in enumerate(zip(step.keys, after, strict=True)):
            is_computed = not isinstance(step, Ask) or depth < step.had
            if key in resident or is_computed:
                resident[key] = when
                heappush(heap, (-when, -depth, key))
        while len(resident) > capacity:
            when, _, key = heappop(heap)
            if resident.get(key) == -when:
                del resident[key]
    return hits


def _next_asks(steps: Sequence[Step]) -> list[list[int]]:
    """For each key of each step, the number of the next step that asks for it."""
    upcoming: dict[str, int] = {}
    found: list[list[int]] = []
    for number in range(len(steps) - 1, -1, -1):
        step = steps[number]
        keys = () if isinstance(step, Leave) else step.keys
        found.append([upcoming.get(key, _NEVER) for key in keys])
        if isinstance(step, Ask):
            upcoming.update(dict.fromkeys(keys, number))
    found.reverse()
    return found
