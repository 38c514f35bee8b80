"""Slot runs: sets of slots as `[(first, count), …]`, which is how events and tiers speak of slots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

Run = tuple[int, int]
"""(first slot, number of slots)"""
Runs = list[Run]


def to_runs(slots: Sequence[int]) -> Runs:
    """Slots in their order as runs of neighbours, ascending inside a run."""
    if not slots:
        return []
    first, count = slots[0], len(slots)
    if slots[-1] - first == count - 1 and list(slots) == list(range(first, first + count)):
        return [(first, count)]
    runs: Runs = []
    count = 0
    for slot in slots:
        if slot == first + count:
            count += 1
        else:
            runs.append((first, count))
            first, count = slot, 1
    runs.append((first, count))
    return runs


def to_slots(runs: Iterable[Run]) -> list[int]:
    """Every slot of the runs, in order."""
    return list(chain.from_iterable(range(first, first + count) for first, count in runs))


def total(runs: Iterable[Run]) -> int:
    """How many slots the runs hold."""
    return sum(count for _, count in runs)


def split_runs(runs: Runs, size: int) -> tuple[Runs, Runs]:
    """The first `size` slots of the runs, and the rest."""
    head: Runs = []
    for i, (first, count) in enumerate(runs):
        if count >= size:
            if size:
                head.append((first, size))
            rest = [(first + size, count - size)] if count > size else []
            return head, rest + runs[i + 1 :]
        head.append((first, count))
        size -= count
    return head, []
