"""lineage-lru, the default: the block goes whose prefix was used longest ago, children before parents.

A use of a block is a use of all its ancestors. So a chain's blocks are never younger than the ones before them, and its
whole order is a few marks `(position, tick)`: up to that position the last use was that tick. A use costs one mark,
however long the prefix. A chain hands its last use on to its parent when it is gone, since the parent cannot go before.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from msgspec import convert

from kvbm_statemachine.lineage import NO_SLOT, Chain, Lineage
from kvbm_statemachine.policies.base import Policy, Victims
from kvbm_statemachine.policies.loose_ends import LooseEnds

Mark = tuple[int, int]
"""(position of a block, tick of the last use of it and of all before it up to the next mark)"""
Marks = Sequence[Mark]
"""Deepest first: positions fall and ticks rise along the list."""

_CHAINS = 1 << 32
"""More than there are chains in the life of a tier."""


class LineageLru(Policy):
    """Least recently used prefix first."""

    name = "lineage-lru"

    def __init__(self, lineage: Lineage, capacity: int) -> None:
        super().__init__(lineage, capacity)
        self._tick = 0
        self._marks: dict[int, Marks] = {}
        # Tick of the last block and chain id, as one number. An entry counts only while it is true, so one too many does
        # no harm; each chain with a loose end has a true one. Not part of the state.
        self._queue: list[int] = []

    def registered(self, chain: Chain, count: int) -> None:  # noqa: ARG002 - the whole chain was used
        """See `Policy.registered`."""
        self._tick += 1
        self._marks[chain.id] = ((chain.end - 1, self._tick),)
        if chain.slots[-1] not in chain.pins:
            self._push(self._tick, chain.id)

    def touched(self, slot: int) -> None:
        """See `Policy.touched`."""
        self._tick += 1
        chain, position = self.lineage.chain_of(slot), self.lineage.position(slot)
        marks = self._marks[chain.id]
        if marks[0][0] > position:
            deeper = [mark for mark in marks if mark[0] > position]
            self._marks[chain.id] = (*deeper, (position, self._tick))
            return
        self._marks[chain.id] = ((position, self._tick),)
        if slot not in chain.pins:
            self._push(self._tick, chain.id)

    def leaving(self, chain: Chain, count: int, *, for_room: bool) -> None:  # noqa: ARG002 - all ends are alike here
        """See `Policy.leaving`."""
        marks = self._marks[chain.id]
        if count < len(chain.slots):
            marks = self._marks[chain.id] = _cut(marks, chain.end - 1 - count)
            self._push(marks[0][1], chain.id)
            return
        del self._marks[chain.id]
        if chain.parent_slot != NO_SLOT:
            parent = self.lineage.chain_of(chain.parent_slot)
            if parent.id in self._marks:
                at = self.lineage.position(chain.parent_slot)
                self._marks[parent.id] = _marked(self._marks[parent.id], at, marks[-1][1])

    def loosened(self, chain: Chain) -> None:
        """See `Policy.loosened`."""
        marks = self._marks.get(chain.id)
        if marks:
            self._push(marks[0][1], chain.id)

    def split(self, chain: Chain, tail: Chain) -> None:
        """See `Policy.split`."""
        marks = self._marks[chain.id]
        self._marks[tail.id] = tuple([mark for mark in marks if mark[0] >= tail.base])
        self._marks[chain.id] = _cut(marks, tail.base - 1)

    def victims(self, count: int) -> list[Victims]:
        """See `Policy.victims`."""
        queue = self._queue
        while queue:  # mostly the first chain has enough
            tick, chain_id = divmod(queue[0], _CHAINS)
            marks = self._marks.get(chain_id)
            chain = self.lineage.chains[chain_id] if marks and marks[0][1] == tick else None
            loose = self.lineage.loose(chain) if chain else 0
            if not marks or not chain or not loose:
                heappop(queue)  # out of date; or held, then `loosened` queues it again
                continue
            above = marks[1][0] if len(marks) > 1 else chain.base - 1
            if count <= loose and count <= marks[0][0] - above:
                return [(chain, count)]
            return self._search(count)
        return []

    def _search(self, count: int) -> list[Victims]:
        """Victims over several chains, each with those before it thought away."""
        found: list[Victims] = []
        queue, popped = self._queue, list[int]()
        ends, thought = LooseEnds(self.lineage), dict[int, Marks]()
        while count and queue:
            entry = heappop(queue)
            tick, chain_id = divmod(entry, _CHAINS)
            real = self._marks.get(chain_id)
            if real is None:
                continue
            chain, marks = self.lineage.chains[chain_id], thought.get(chain_id, real)
            loose = ends.loose(chain)
            if not loose:
                continue  # `loosened` queues it again
            if real[0][1] == tick:
                popped.append(entry)
            if marks[0][1] != tick:
                continue
            above = marks[1][0] if len(marks) > 1 else chain.base - 1
            size = min(count, loose, marks[0][0] - above)
            found.append((chain, size))
            count -= size
            if count:
                self._think_away(ends, thought, chain, size)
        for entry in popped:
            heappush(queue, entry)
        return found

    def _think_away(self, ends: LooseEnds, thought: dict[int, Marks], chain: Chain, size: int) -> None:
        """Queue what comes after these victims: the chain's blocks before them, or its parent's."""
        marks = thought.get(chain.id, self._marks[chain.id])
        parent = ends.take(chain, size)
        last = marks[0][0] - size
        if last >= chain.base:
            marks = thought[chain.id] = _cut(marks, last)
            heappush(self._queue, marks[0][1] * _CHAINS + chain.id)
        elif parent and parent.id in self._marks:
            own = thought.get(parent.id, self._marks[parent.id])
            own = thought[parent.id] = _marked(own, self.lineage.position(chain.parent_slot), marks[-1][1])
            heappush(self._queue, own[0][1] * _CHAINS + parent.id)

    def dump(self) -> Any:  # noqa: ANN401 - see `Policy.dump`
        """See `Policy.dump`."""
        return [self._tick, [[chain_id, marks] for chain_id, marks in self._marks.items()]]

    def load(self, dumped: Any) -> None:  # noqa: ANN401 - see `Policy.load`
        """See `Policy.load`."""
        self._tick, marks = convert(dumped, tuple[int, list[tuple[int, tuple[Mark, ...]]]])
        self._marks = dict(marks)
        self._requeue()

    def _push(self, tick: int, chain_id: int) -> None:
        heappush(self._queue, tick * _CHAINS + chain_id)
        if len(self._queue) > 64 + 4 * len(self._marks):
            self._requeue()

    def _requeue(self) -> None:
        self._queue = [marks[0][1] * _CHAINS + chain_id for chain_id, marks in self._marks.items()]
        heapify(self._queue)


def _marked(marks: Marks, position: int, tick: int) -> Marks:
    """The marks after a use, at `tick`, of the block at `position` and all before it."""
    deeper = [mark for mark in marks if mark[0] > position]
    newer = [mark for mark in marks if mark[0] <= position and mark[1] > tick]
    known = (deeper and deeper[-1][1] >= tick) or (newer and newer[0][0] == position)
    return marks if known else (*deeper, (position, tick), *newer)


def _cut(marks: Marks, last: int) -> Marks:
    """The marks once the block at position `last` is the last."""
    while len(marks) > 1 and marks[1][0] >= last:
        marks = marks[1:]
    return ((last, marks[0][1]), *marks[1:])
