"""The blocks of one tier by their keys, and who is whose child.

Blocks that follow each other without a branch are one `Chain`; a branch starts a chain of its own. So work is done per
chain and not per block: holding the deepest block of a prefix holds the whole prefix, since a chain only ever loses
blocks from its end, and only behind its last pin.

Rules
1. A pin on a block keeps it and all its ancestors in the tier: requests, transfers and child chains pin.
2. A chain whose parent is not in the tier is an orphan; it is adopted when the parent's key is registered.
3. A condemned chain is out of the index but keeps its slots until the last pin on it goes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import TypeVar

from msgspec import Struct

from kvbm_events.schema import ROOT, Runs, to_runs
from kvbm_events.schema.runs import count_up

NO_SLOT = -1
K = TypeVar("K", int, str)


class Chain(Struct, eq=False, gc=False):
    """Blocks in prefix order, each the parent of the next.

    :ivar base: position of the first block; positions go on growing over a split, so that a block keeps its own
    :ivar parent_key: key before the first block, `ROOT` for a prefix's start
    :ivar parent_slot: its slot, `NO_SLOT` where it is not in the tier
    :ivar pins: how often each pinned slot is pinned
    """

    id: int
    base: int
    parent_key: str
    parent_slot: int
    keys: list[str]
    slots: list[int]
    pins: dict[int, int] = {}
    condemned: bool = False

    @property
    def end(self) -> int:
        """One past the position of the last block."""
        return self.base + len(self.slots)


class Lineage:
    """The chains of a tier, and the index from key to slot."""

    def __init__(self, capacity: int) -> None:
        self.index: dict[str, int] = {}
        self.chains: dict[int, Chain] = {}
        self.next_id = 0
        self._branches: dict[int, dict[int, Chain]] = {}
        self.orphans: dict[str, dict[int, Chain]] = {}
        self._chain_at: list[Chain | None] = [None] * capacity
        self._position: list[int] = [0] * capacity

    def chain_of(self, slot: int) -> Chain:
        """The chain that a registered or condemned slot is part of."""
        chain = self._chain_at[slot]
        if chain is None:
            raise LookupError(f"slot {slot} has no block")
        return chain

    def position(self, slot: int) -> int:
        """A block's position, to be compared with its chain's `base` and `end`."""
        return self._position[slot]

    def key_of(self, slot: int) -> str:
        """The key of the block in a slot."""
        chain = self.chain_of(slot)
        return chain.keys[self._position[slot] - chain.base]

    def parent_of(self, slot: int) -> str:
        """The key before the block in a slot."""
        chain = self.chain_of(slot)
        at = self._position[slot] - chain.base
        return chain.keys[at - 1] if at else chain.parent_key

    def loose(self, chain: Chain) -> int:
        """How many blocks at the end of the chain nothing is pinned on or behind."""
        if not chain.pins:
            return len(chain.slots)
        position = self._position
        return chain.end - 1 - max([position[slot] for slot in chain.pins])

    def children(self, slot: int) -> Collection[Chain]:
        """The chains that begin behind a block, other than its own, in the order in which they came."""
        children = self._branches.get(slot)
        return children.values() if children else ()

    def path(self, slot: int) -> Iterator[tuple[Chain, int]]:
        """From a block up to the root: each chain with the number of its blocks that are on the way."""
        while slot != NO_SLOT:
            chain = self.chain_of(slot)
            yield chain, self._position[slot] - chain.base + 1
            slot = chain.parent_slot

    def above(self, key: str) -> str:
        """The key before the oldest ancestor that a block has in the tier."""
        *_, (chain, _) = self.path(self.index[key])
        return chain.parent_key

    def is_path(self, slots: list[int]) -> bool:
        """Whether the slots hold blocks each of which is the parent of the next."""
        at, last = 0, NO_SLOT
        while at < len(slots):
            chain = self._chain_at[slots[at]]
            if chain is None:
                return False
            start = self._position[slots[at]] - chain.base
            if at and (start or chain.parent_slot != last):
                return False
            at += common_length(chain.slots[start:], slots[at:])
            last = slots[at - 1]
        return True

    def grow(self, parent_key: str, keys: list[str], slots: list[int], runs: Runs) -> Chain:
        """Add new blocks in a row behind the block with `parent_key`; the chain that they ended up in.

        `runs` are the same slots as `slots`. The lists become the chain's own.
        """
        parent_slot = self.index.get(parent_key, NO_SLOT)
        chain = self._chain_at[parent_slot] if parent_slot != NO_SLOT else None
        if chain is not None and chain.slots[-1] == parent_slot:
            start = chain.end
            chain.keys += keys
            chain.slots += slots
        else:
            start = self._position[parent_slot] + 1 if chain is not None else 0
            chain = self._new_chain(start, parent_key, parent_slot, keys, slots)
        self._place(chain, runs, start)
        if len(keys) == 1:
            self.index[keys[0]] = slots[0]
        else:
            self.index.update(zip(keys, slots, strict=True))
        if self.orphans:
            self._adopt(keys)
        return chain

    def _new_chain(self, base: int, parent_key: str, parent_slot: int, keys: list[str], slots: list[int]) -> Chain:
        chain = Chain(self.next_id, base, parent_key, parent_slot, keys, slots)
        self.next_id += 1
        self.chains[chain.id] = chain
        if parent_slot != NO_SLOT:
            self._link(chain, parent_slot)
        elif parent_key:
            self.orphans.setdefault(parent_key, {})[chain.id] = chain
        return chain

    def pin(self, slot: int) -> None:
        """Hold a block, and with it all its ancestors."""
        pins = self.chain_of(slot).pins
        pins[slot] = pins.get(slot, 0) + 1

    def unpin(self, slot: int) -> Chain:
        """Let go of a block; its chain, which may have become loose."""
        chain = self.chain_of(slot)
        pins = chain.pins
        if pins[slot] > 1:
            pins[slot] -= 1
        else:
            del pins[slot]
        return chain

    def cut(self, chain: Chain, count: int, runs: Runs) -> Chain | None:
        """Take the last `count` blocks, all loose, out of the tier. The parent chain that this loosened, if any.

        `runs` are the slots of these blocks.
        """
        is_whole = count == len(chain.slots)
        if not chain.condemned:
            deque(map(self.index.pop, chain.keys if is_whole else chain.keys[-count:]), maxlen=0)
        chain_at = self._chain_at
        for first, size in runs:
            if size == 1:
                chain_at[first] = None
            else:
                chain_at[first : first + size] = [None] * size
        if not is_whole:
            del chain.keys[-count:], chain.slots[-count:]
            return None
        del self.chains[chain.id]
        return self._unlink(chain)

    def split(self, chain: Chain, at: int) -> Chain:
        """Make the blocks from index `at` on a chain of their own, child of the block before them."""
        keys, slots = chain.keys[at:], chain.slots[at:]
        del chain.keys[at:], chain.slots[at:]
        tail = self._new_chain(chain.end, chain.keys[-1], chain.slots[-1], keys, slots)
        self._place(tail, to_runs(slots), tail.base)
        moved = [slot for slot in chain.pins if self._position[slot] >= tail.base]
        tail.pins = {slot: chain.pins.pop(slot) for slot in moved}
        return tail

    def condemn(self, chain: Chain) -> None:
        """Take a whole chain out of the index; its slots stay until nothing is pinned on them."""
        chain.condemned = True
        deque(map(self.index.pop, chain.keys), maxlen=0)

    def disown(self, chain: Chain) -> None:
        """Make a chain an orphan: its parent leaves the tier before it, as only an engine of its own would have it."""
        self._unlink(chain)
        chain.parent_slot = NO_SLOT
        self.orphans.setdefault(chain.parent_key, {})[chain.id] = chain

    def descendants(self, slot: int) -> list[Chain]:
        """The chains below a block, children before their parents."""
        found: list[Chain] = []
        stack = [*self.children(slot)]
        while stack:
            chain = stack.pop()
            found.append(chain)
            for below in chain.slots:
                stack.extend(self.children(below))
        return found[::-1]

    def restore(self, chain: Chain) -> None:
        """Take over a chain of a snapshot; `relink` follows when all are there."""
        self.chains[chain.id] = chain
        self._place(chain, to_runs(chain.slots), chain.base)
        if not chain.condemned:
            self.index.update(zip(chain.keys, chain.slots, strict=True))

    def relink(self, next_id: int) -> None:
        """Hang restored chains below their parents, or among the orphans."""
        self.next_id = next_id
        for chain in self.chains.values():
            if chain.parent_slot != NO_SLOT:
                self._link(chain, chain.parent_slot)
            elif chain.parent_key != ROOT:
                self.orphans.setdefault(chain.parent_key, {})[chain.id] = chain

    def _place(self, chain: Chain, runs: Runs, start: int) -> None:
        chain_at, position = self._chain_at, self._position
        for first, size in runs:
            if size == 1:
                chain_at[first] = chain
                position[first] = start
            else:
                chain_at[first : first + size] = [chain] * size
                position[first : first + size] = count_up(start, size)
            start += size

    def _link(self, chain: Chain, parent_slot: int) -> None:
        chain.parent_slot = parent_slot
        self._branches.setdefault(parent_slot, {})[chain.id] = chain
        self.pin(parent_slot)

    def _unlink(self, chain: Chain) -> Chain | None:
        if chain.parent_slot == NO_SLOT:
            if chain.parent_key != ROOT:
                _drop(self.orphans, chain.parent_key, chain)
            return None
        _drop(self._branches, chain.parent_slot, chain)
        return self.unpin(chain.parent_slot)

    def _adopt(self, keys: list[str]) -> None:
        for key in filter(self.orphans.__contains__, keys):
            for chain in self.orphans.pop(key).values():
                self._link(chain, self.index[key])


def _drop(table: dict[K, dict[int, Chain]], at: K, chain: Chain) -> None:
    siblings = table[at]
    del siblings[chain.id]
    if not siblings:
        del table[at]


def common_length(left: list[int], right: list[int]) -> int:
    """How many slots at the beginning of two lists are the same."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size
    return next(at for at in range(size) if left[at] != right[at])
