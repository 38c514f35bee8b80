"""One tier of an instance: its slots, the lineage of its blocks, and the order in which they would go."""

from __future__ import annotations

from kvbm_events.schema import Runs, TierName, TierSpec, to_runs, to_slots
from kvbm_statemachine.checksums import Checksums
from kvbm_statemachine.lineage import Chain, Lineage
from kvbm_statemachine.policies import make_policy
from kvbm_statemachine.slots import Slots
from kvbm_statemachine.table import SlotState, Step, Transition

_ONE_MORE = bytes(min(seen + 1, 255) for seen in range(256))


class Tier:
    """See the module. Its parts are changed by `evolve` only.

    :ivar name: g1 to g4
    :ivar observed: whether an engine decides here and we record
    :ivar seen: by slot, how often the block was registered or found, up to 255; kept for the admission below
    :ivar checksums: by slot, of blocks that came by a transfer
    :ivar writers: by slot, who wrote the object of a block that another instance wrote
    :ivar contents: by rank, the name of what is in its memory of this tier, for those that told it
    """

    def __init__(self, spec: TierSpec) -> None:
        self.name: TierName = spec.tier
        self.observed = spec.control == "observed"
        self.spec = spec
        self.slots = Slots(spec.capacity)
        self.lineage = Lineage(spec.capacity)
        self.policy = make_policy(spec.policy, self.lineage, spec.capacity)
        self.seen = bytearray(spec.capacity)
        self.checksums = Checksums(spec.capacity)
        self.writers: dict[int, str] = {}
        self.contents: dict[int, str] = {}

    def add(self, step: Transition, parent: str, keys: list[str], slots: list[int], runs: Runs) -> Chain:
        """Register new blocks in a row, `runs` being the same slots as `slots`; their chain.

        The policy is still to be told, once they are held by whom they should be.
        """
        self.slots.move(step, runs)
        seen = self.seen
        for first, count in runs:
            if count == 1:
                seen[first] = 1
            else:
                seen[first : first + count] = b"\x01" * count
        return self.lineage.grow(parent, keys, slots, runs)

    def touch(self, slot: int) -> None:
        """A look-up found the prefix that ends in this block."""
        self.policy.touched(slot)

    def count_seen(self, slot: int) -> None:
        """A look-up found, here or in a tier above, the prefix that ends in this block."""
        seen = self.seen
        for chain, size in self.lineage.path(slot):
            for first, count in to_runs(chain.slots[:size]):
                seen[first : first + count] = seen[first : first + count].translate(_ONE_MORE)

    def pin(self, slot: int) -> None:
        """Hold a block and its ancestors."""
        self.lineage.pin(slot)

    def unpin(self, slot: int) -> None:
        """Let go of a block; what was condemned and is not held any more becomes free."""
        self._loosened(self.lineage.unpin(slot))

    def cut(self, chain: Chain, runs: Runs, count: int, *, for_room: bool) -> None:
        """Evict the last `count` blocks of a chain, all loose; `runs` are their slots."""
        self.policy.leaving(chain, count, for_room=for_room)
        self._free(Step.EVICTED, chain, runs, count)

    def condemn(self, chain: Chain, count: int) -> None:
        """Evict the last `count` blocks of a chain though somebody holds them: their slots stay until nobody does."""
        if count < len(chain.slots):
            at = len(chain.slots) - count
            tail = self.lineage.split(chain, at)
            self.policy.split(chain, tail)
            chain = tail
        self.policy.leaving(chain, count, for_room=False)
        self.lineage.condemn(chain)
        self.slots.move(Step.CONDEMNED, to_runs(chain.slots))

    def sever(self, chain: Chain, at: int, count: int) -> None:
        """Orphan all children of some blocks, so that these are an end: an observed tier's engine evicts in any order."""
        if at + count < len(chain.slots):
            tail = self.lineage.split(chain, at + count)
            self.policy.split(chain, tail)
        for slot in chain.slots[at:]:
            for child in [*self.lineage.children(slot)]:
                self.lineage.disown(child)

    def _free(self, step: Transition, chain: Chain, runs: Runs, count: int) -> None:
        parent = self.lineage.cut(chain, count, runs)
        self.slots.move(step, runs)
        self.checksums.clear(runs)
        if self.writers:
            for slot in to_slots(runs):
                self.writers.pop(slot, None)
        if parent:
            self._loosened(parent)

    def _loosened(self, chain: Chain) -> None:
        if not chain.condemned:
            self.policy.loosened(chain)
        elif loose := self.lineage.loose(chain):
            self._free(Step.LAST_UNHELD, chain, to_runs(chain.slots[-loose:]), loose)

    def writer_of(self, slots: list[int]) -> str | None:
        """Who wrote all of these blocks: empty where this instance did, None where they have several writers."""
        if not self.writers:
            return ""
        names = {self.writers.get(slot, "") for slot in slots}
        return names.pop() if len(names) == 1 else None

    def counts(self) -> dict[str, int]:
        """Slots by state, by the state's name in lower case."""
        return {state.name.lower(): self.slots.count(state) for state in SlotState}
