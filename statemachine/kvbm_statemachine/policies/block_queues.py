"""The blocks of a tier in a few queues: what the policies share that order blocks one by one.

Rules
1. A block is in one queue. A queue's order is that of the stamps its blocks got when they joined; stamps only rise.
2. A queue is asked for the first block that has a move to make: a loose one, which may be evicted, or one used so often
   that it moves on instead. A block that has none is passed over and keeps its place.
3. What is done in a rehearsal is undone at its end. So victims are found by the very code that later evicts them.

A block that may have a move is watched: it stands in the heap of its queue, under a stamp no younger than its own. The
heaps only save a search, and are no part of the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush, heapreplace
from itertools import groupby

from kvbm_events.schema import Runs, to_runs, to_slots
from kvbm_statemachine.lineage import NO_SLOT
from kvbm_statemachine.policies.loose_ends import LooseEnds
from kvbm_statemachine.slots import are_within

NOWHERE = 255
"""The queue of a slot without a block."""
NEVER = 256
"""More uses than a block can have."""

Heap = list[tuple[int, int]]
"""(stamp, slot)"""


class BlockQueues:
    """See the module.

    :ivar queue_of: by slot, the number of its block's queue
    :ivar uses: by slot, what `use` counted since the block joined its queue
    :ivar sizes: by queue, how many blocks are in it
    """

    def __init__(self, capacity: int, moves_at: Sequence[int]) -> None:
        self.queue_of = bytearray((NOWHERE,)) * capacity
        self.uses = bytearray(capacity)
        self.sizes = [0] * len(moves_at)
        self._moves_at = moves_at
        self._stamps = [0] * capacity
        self._stamp = 0
        self._heaps: list[Heap] = [[] for _ in moves_at]
        self._watched = bytearray(capacity)  # a bit for each queue whose heap has the slot
        self._lines: list[Heap] = [[] for _ in moves_at]  # what `oldest` has left, the oldest last
        self._is_rehearsal = False
        self._journal: dict[int, tuple[int, int, int]] = {}  # queue, stamp and uses of what a rehearsal changed
        self._drafts: list[Heap] = [[] for _ in moves_at]  # what it watches beside the heaps
        self._put_off: list[tuple[int, int]] = []  # queue and slot of what it took out of them
        self._before = (0, self.sizes.copy())

    def join(self, queue: int, slots: Sequence[int]) -> None:
        """Put blocks at the back of a queue, one after the other, from wherever they were."""
        if self._is_rehearsal:
            self._note(slots)
        queue_of, stamps, sizes, stamp = self.queue_of, self._stamps, self.sizes, self._stamp
        for slot in slots:
            before = queue_of[slot]
            if before != queue:
                queue_of[slot] = queue
                sizes[queue] += 1
                if before != NOWHERE:
                    sizes[before] -= 1
            stamp += 1
            stamps[slot] = stamp
        self._stamp = stamp

    def move(self, slot: int, queue: int, uses: int) -> None:
        """Put a block that had a move to make at the back of a queue, with so many uses left."""
        self.join(queue, (slot,))
        self.uses[slot] = uses
        self.watch(slot)

    def leave(self, slots: Sequence[int]) -> None:
        """Blocks leave the tier."""
        if self._is_rehearsal:
            self._note(slots)
        queue_of, uses, sizes = self.queue_of, self.uses, self.sizes
        for slot in slots:
            sizes[queue_of[slot]] -= 1
            queue_of[slot] = NOWHERE
            uses[slot] = 0

    def use(self, slots: Sequence[int], most: int) -> None:
        """Count a use of each block, up to `most`."""
        uses, queue_of, moves_at = self.uses, self.queue_of, self._moves_at
        for slot in slots:
            count = uses[slot]
            if count < most:
                uses[slot] = count = count + 1
                if count == moves_at[queue_of[slot]]:
                    self.watch(slot)

    def watch(self, slot: int) -> None:
        """The block may have a move to make from now on."""
        queue = self.queue_of[slot]
        if queue == NOWHERE:
            return
        is_watched = self._watched[slot] >> queue & 1
        if self._is_rehearsal:
            if not is_watched or slot in self._journal:
                heappush(self._drafts[queue], (self._stamps[slot], slot))
        elif not is_watched:
            self._watched[slot] |= 1 << queue
            heappush(self._heaps[queue], (self._stamps[slot], slot))

    def first(self, queue: int, ends: LooseEnds) -> int:
        """The first block of a queue that has a move to make; `NO_SLOT` if none has."""
        heap, draft, stamps, moves_at = self._heaps[queue], self._drafts[queue], self._stamps, self._moves_at[queue]
        while heap or draft:
            line = draft if draft and not (heap and heap[0] < draft[0]) else heap
            stamp, slot = line[0]
            if line is heap and slot in self._journal:
                self._put_off.append((queue, slot))
                heappop(heap)
            elif self.queue_of[slot] != queue or not (self.uses[slot] >= moves_at or ends.is_loose(slot)):
                if line is heap:
                    self._watched[slot] &= ~(1 << queue)
                heappop(line)
            elif stamp != stamps[slot]:
                heapreplace(line, (stamps[slot], slot))
            else:
                return slot
        return NO_SLOT

    def row(self, slots: list[int]) -> list[int]:
        """The first of these blocks, and as many after it as stand behind each other in its queue without a move."""
        queue_of, uses, stamps = self.queue_of, self.uses, self._stamps
        queue, stamp = queue_of[slots[0]], stamps[slots[0]]
        moves_at = self._moves_at[queue]
        for at, slot in enumerate(slots):
            if stamps[slot] != stamp + at or queue_of[slot] != queue or uses[slot] >= moves_at:
                return slots[: max(at, 1)]
        return slots

    def oldest(self, queue: int) -> int:
        """The block that joined a queue first, whether it has a move to make or not; the queue is not empty."""
        line, stamps, queue_of = self._lines[queue], self._stamps, self.queue_of
        while True:
            while line:
                stamp, slot = line[-1]
                if stamps[slot] == stamp and queue_of[slot] == queue:
                    return slot
                line.pop()
            line += sorted(((stamps[slot], slot) for slot, own in enumerate(queue_of) if own == queue), reverse=True)

    def rehearse(self) -> None:
        """Remember from now on how things were."""
        self._is_rehearsal, self._before = True, (self._stamp, self.sizes.copy())

    def undo(self) -> None:
        """End the rehearsal: all is as it was when it began."""
        self._stamp, self.sizes[:] = self._before
        for slot, (queue, stamp, uses) in self._journal.items():
            self.queue_of[slot], self._stamps[slot], self.uses[slot] = queue, stamp, uses
        for queue, slot in self._put_off:
            heappush(self._heaps[queue], (self._stamps[slot], slot))
        for draft in self._drafts:
            draft.clear()
        self._journal.clear()
        self._put_off.clear()
        self._is_rehearsal = False

    def _note(self, slots: Sequence[int]) -> None:
        for slot in slots:
            if slot not in self._journal:
                self._journal[slot] = self.queue_of[slot], self._stamps[slot], self.uses[slot]

    def dump(self) -> list[Runs]:
        """Each queue from its youngest block on, so that prefixes are ascending runs."""
        there = [slot for slot, queue in enumerate(self.queue_of) if queue != NOWHERE]
        there.sort(key=lambda slot: (self.queue_of[slot], -self._stamps[slot]))
        queues: list[Runs] = [[] for _ in self.sizes]
        for queue, slots in groupby(there, key=self.queue_of.__getitem__):
            queues[queue] = to_runs(list(slots))
        return queues

    def load(self, queues: Sequence[Runs]) -> None:
        """Restore what `dump` gave, in queues that are empty."""
        for queue, runs in enumerate(queues):
            if not are_within(runs, len(self.queue_of)):
                raise ValueError(f"queue {queue} has slots that the tier has not")
            slots = to_slots(list(runs))[::-1]
            self.join(queue, slots)
            for slot in slots:
                self.watch(slot)
