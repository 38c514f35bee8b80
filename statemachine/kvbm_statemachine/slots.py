"""The slots of one tier: one byte of state each, and where free ones are to be found."""

from __future__ import annotations

import re
from itertools import pairwise

from kvbm_events.schema import Runs, total
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.table import SlotState, Transition

_FREE_RUN = re.compile(rb"\x00+")
_FILL = [bytes((state,)) for state in SlotState]
_MAX_HINTS = 4096


class Slots:
    """State of every slot of a tier. `move` is the only writer, and it obeys the table.

    :ivar states: a byte a slot, of `SlotState`
    :ivar free: how many are free
    """

    def __init__(self, capacity: int) -> None:
        self.states = bytearray(capacity)
        self.free = capacity
        # Where slots became free lately: saves the search, means nothing to the state, and may be out of date.
        self._hints: Runs = []

    @property
    def capacity(self) -> int:
        """Slots in all."""
        return len(self.states)

    def count(self, state: SlotState) -> int:
        """How many slots are in this state."""
        return self.states.count(state)

    def check(self, step: Transition, runs: Runs) -> None:
        """Whether every slot of the runs may take the step.

        Raises:
            IllegalTransition: one may not, does not exist, or is named twice; the message names it.
        """
        before, _, cause = step
        states, capacity = self.states, len(self.states)
        for first, count in runs:
            end = first + count
            if not 0 <= first < end <= capacity:
                raise IllegalTransition(f"{cause}: slots {first}..{end - 1}", why=f"the tier has {capacity} slots")
            if states[first] != before or (count > 1 and not states.startswith(_FILL[before] * count, first)):
                slot = next(i for i in range(first, end) if states[i] != before)
                state = SlotState(states[slot]).name.lower()
                raise IllegalTransition(f"{cause}: slot {slot}", why=f"it is {state}, not {before.name.lower()}")
        if len(runs) > 1 and (twice := _overlapping(runs)) is not None:
            raise IllegalTransition(f"{cause}: slot {twice}", why="the event names it twice")

    def move(self, step: Transition, runs: Runs) -> None:
        """Take the step, which `check` has allowed."""
        before, after, _ = step
        states, moved = self.states, 0
        for first, count in runs:
            if count == 1:
                states[first] = after
            else:
                states[first : first + count] = _FILL[after] * count
            moved += count
        if before == SlotState.FREE:
            self.free -= moved
        elif after == SlotState.FREE:
            self.free += moved
            hints = self._hints
            hints += runs
            if len(hints) > _MAX_HINTS:
                del hints[: -_MAX_HINTS // 2]

    def restore(self, states: bytes) -> None:
        """Take over the states of a snapshot."""
        self.states[:] = states
        self.free = self.states.count(SlotState.FREE)

    def find_free(self, count: int) -> Runs:
        """Runs of `count` free slots, changing nothing but the hints; the caller made sure that so many are free."""
        found: Runs = []
        states, hints = self.states, self._hints
        while count and hints:
            first, size = hints.pop()
            if size > count:
                hints.append((first + count, size - count))
                size = count
            if not states[first] and (size == 1 or states.startswith(bytes(size), first)):
                found.append((first, size))
                count -= size
        if len(found) > 1 and _overlapping(found) is not None:  # two hints spoke of one slot: of no use, any of them
            count, found = total(found) + count, []
        return found + self._search(count, found) if count else found

    def _search(self, count: int, taken: Runs) -> Runs:
        """Free runs by looking through the whole tier, passing over those that were taken from hints."""
        busy = self.states
        if taken:
            busy = bytearray(busy)
            for first, size in taken:
                busy[first : first + size] = bytes((SlotState.ALLOCATED,)) * size
        found: Runs = []
        for match in _FREE_RUN.finditer(busy):
            first, end = match.span()
            size = min(count, end - first)
            found.append((first, size))
            count -= size
            if not count:
                if end - first > size:
                    self._hints.append((first + size, end - first - size))
                break
        return found


def are_within(runs: Runs, capacity: int) -> bool:
    """Whether runs that come from outside speak of slots of such a tier, so that to unpack them is harmless."""
    return all(0 <= first < first + count <= capacity for first, count in runs) and total(runs) <= capacity


def _overlapping(runs: Runs) -> int | None:
    """A slot that is in two of the runs, if there is one."""
    for (first, count), (following, _) in pairwise(sorted(runs)):
        if first + count > following:
            return following
    return None
