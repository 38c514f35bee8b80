"""w-tinylfu: a block stays if it is used more often than the one that would have to go for it.

After Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission policy" (ToS 2017). New blocks join a
window, a hundredth of the tier; the main part is segmented: a block used while on probation is protected, and the
protected part, four fifths, sends its oldest back. When room is wanted and the window is full, its oldest block and the
one on probation compete: the newcomer goes unless it was used more often. Room is made before the blocks that need it
are known, and a prompt may have more of them than the window: what is over its size waits there to compete when room is
wanted next. Until room was wanted for the first time, new blocks join the main part at once.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from kvbm_statemachine.lineage import NO_SLOT, Chain, Lineage
from kvbm_statemachine.policies.block_policy import BlockPolicy
from kvbm_statemachine.policies.block_queues import NEVER
from kvbm_statemachine.policies.loose_ends import LooseEnds
from kvbm_statemachine.policies.sketch import FrequencySketch

_WINDOW, _PROBATION, _PROTECTED = 0, 1, 2


class WTinyLfu(BlockPolicy):
    """See the module."""

    name = "w-tinylfu"
    moves_at = (NEVER, NEVER, NEVER)

    def __init__(self, lineage: Lineage, capacity: int) -> None:
        super().__init__(lineage, capacity)
        self._window_size = max(1, capacity // 100)
        self._main_size = capacity - self._window_size
        self._protected_size = self._main_size * 4 // 5
        self._sketch = FrequencySketch(capacity)
        self._was_full = False

    def touched(self, slot: int) -> None:
        """See `Policy.touched`."""
        blocks = self._blocks
        for chain, size in self.lineage.path(slot):
            self._sketch.add(chain.keys[:size])
            slots = chain.slots[size - 1 :: -1]
            for queue in (_WINDOW, _PROTECTED):
                blocks.join(queue, [at for at in slots if (blocks.queue_of[at] == _WINDOW) == (queue == _WINDOW)])
            blocks.watch(slots[0])
        while blocks.sizes[_PROTECTED] > self._protected_size:
            blocks.move(blocks.oldest(_PROTECTED), _PROBATION, 0)

    def _enter(self, keys: list[str], slots: list[int]) -> None:
        self._sketch.add(keys)
        self._blocks.join(_WINDOW if self._was_full else _PROBATION, slots)

    def _next(self, ends: LooseEnds) -> int:
        blocks = self._blocks
        while True:
            newcomer, resident = blocks.first(_WINDOW, ends), self._resident(ends)
            if NO_SLOT in (newcomer, resident):
                return max(newcomer, resident)
            if blocks.sizes[_WINDOW] < self._window_size:
                return resident
            if self._count(newcomer) <= self._count(resident):
                return newcomer
            is_full = blocks.sizes[_PROBATION] + blocks.sizes[_PROTECTED] >= self._main_size
            self._admit(newcomer)
            if is_full:
                return resident

    def _resident(self, ends: LooseEnds) -> int:
        slot = self._blocks.first(_PROBATION, ends)
        return slot if slot != NO_SLOT else self._blocks.first(_PROTECTED, ends)

    def _repeats(self, queue: int) -> int:
        over = self._blocks.sizes[_WINDOW] - self._window_size
        if queue == _WINDOW:
            return max(1, over + 1)
        return self.capacity if over < 0 else 1

    def _row(self, ends: LooseEnds, chain: Chain, most: int) -> list[int]:
        """Newcomers go in a row while the one on probation beats each of them."""
        slots = super()._row(ends, chain, most)
        resident = self._resident(ends)
        if self._blocks.queue_of[slots[0]] != _WINDOW or resident == NO_SLOT:
            return slots
        bar = self._count(resident)
        return [*slots[:1], *takewhile(lambda slot: self._count(slot) <= bar, slots[1:])]

    def _admit(self, slot: int) -> None:
        """A newcomer joins the main part, and with it the ancestors on which it stands."""
        for slots in self._path(slot):
            new = [at for at in slots if self._blocks.queue_of[at] == _WINDOW]
            if new:
                self._blocks.join(_PROBATION, new)
                self._blocks.watch(new[0])
            if len(new) < len(slots):
                return

    def _count(self, slot: int) -> int:
        return self._sketch.count(self.lineage.key_of(slot))

    def _evict(self, chain: Chain, count: int) -> None:
        self._was_full = True
        for _ in self._in_turn(chain, count):
            pass

    def dump(self) -> Any:  # noqa: ANN401 - see `Policy.dump`
        """See `Policy.dump`."""
        return [super().dump(), self._was_full, bytes(self._sketch.counters), self._sketch.added]

    def load(self, dumped: Any) -> None:  # noqa: ANN401 - see `Policy.load`
        """See `Policy.load`."""
        queues, self._was_full, self._sketch.counters[:], self._sketch.added = dumped
        super().load(queues)
