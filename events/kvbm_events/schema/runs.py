"""Slot runs: sets of slots as `[(first, count), …]`, which is how events and tiers speak of slots."""

from __future__ import annotations

from collections.abc import Sequence

Run = tuple[int, int]
"""(first slot, number of slots)"""
Runs = list[Run]


_NUMBERS_MAX = 1 << 20
_numbers = [[*range(1024)]]


def count_up(first: int, count: int) -> list[int]:
    """`count` numbers from `first` on. Small ones are the same objects each time: those are cheap to copy and compare."""
    end, numbers = first + count, _numbers[0]
    if end > len(numbers):
        if end > _NUMBERS_MAX:
            return [*range(first, end)]
        # A new list, since other threads may be reading the old one; of the old numbers, so that they stay the same objects.
        numbers = _numbers[0] = [*numbers, *range(len(numbers), min(2 * end, _NUMBERS_MAX))]
    return numbers[first:end]


def to_runs(slots: Sequence[int]) -> Runs:
    """Slots in their order as runs of neighbours, ascending inside a run."""
    size = len(slots)
    if not size:
        return []
    first = slots[0]
    if size == 1 or (slots[-1] - first == size - 1 and slots == count_up(first, size)):
        return [(first, size)]
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


def to_slots(runs: Runs) -> list[int]:
    """Every slot of the runs, in order."""
    if len(runs) == 1:
        first, count = runs[0]
        return count_up(first, count) if count > 1 else [first]
    slots: list[int] = []
    for first, count in runs:
        if count == 1:
            slots.append(first)
        else:
            slots += count_up(first, count)
    return slots


def total(runs: Runs) -> int:
    """How many slots the runs hold."""
    return runs[0][1] if len(runs) == 1 else sum([count for _, count in runs])


def split_runs(runs: Runs, size: int) -> tuple[Runs, Runs]:
    """The first `size` slots of the runs, and the rest."""
    if runs and runs[0][1] == size:
        return runs[:1], runs[1:]
    if total(runs) == size:
        return runs, []
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
