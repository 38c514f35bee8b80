"""Which blocks go down by themselves: what a tier's admission wants of the tier above it.

* `write_through`: every block that is new above; with a `priority_min`, also what a request of that priority found there.
* `selective`: what was seen often enough, when it is found once more.
* `on_evict`: what would be evicted next, some allocations ahead, since an eviction does not wait for a copy. What goes
  without having been offered is counted as `sudden`. For whom such a block was, and how urgent, is not known.

What is not wanted leaves no event: the admission stands in `Opened`, and how often a block was seen and by whom is told by
`Registered` and `Matched`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kvbm_events.schema import Evicted, TierName, unpack_keys
from kvbm_nats.offloading.paths import Paths
from kvbm_statemachine import State
from kvbm_statemachine.tier import Tier

Refusal = Literal["priority", "seen", "sudden"]
"""Why blocks were not wanted: for so little urgent a request, seen too rarely, or gone before they could be asked for."""
NOBODYS_PRIORITY = 50
"""Of blocks that go down because they would be evicted."""
AHEAD = 256
"""Blocks that are offered before they would be evicted, or as many as the last allocation took, if those are more."""
AHEAD_SHARE = 8
"""But no more than this part of the tier, where that is less."""


class Admission:
    """See the module. For the tiers of one epoch."""

    def __init__(self, state: State, paths: Paths) -> None:
        self._paths, self._state = paths, state
        self._new: dict[TierName, Tier] = {}
        self._victims: dict[TierName, Tier] = {}
        self._offered: dict[TierName, int] = {}
        self._found: list[tuple[Tier, Tier]] = []
        for tier in state.tiers.values():
            below = state.below(tier.name)
            if not below or below.observed:
                continue
            admission = below.spec.admission
            if admission == "write_through":
                self._new[tier.name] = below
            elif admission == "on_evict" and not tier.observed:
                self._victims[tier.name] = below
            if admission == "selective" or (admission == "write_through" and below.spec.priority_min):
                self._found.append((tier, below))

    def offer_new(self, tier: Tier, keys: Sequence[str], priority: int) -> None:
        """Blocks are new in a tier, for a request of this priority."""
        below = self._new.get(tier.name)
        if below and self._is_wanted(tier, below, priority, len(keys)):
            self._paths.offer(tier, below, keys, priority)

    def offer_found(self, keys: Sequence[str], priority: int) -> None:
        """A request of this priority found these blocks."""
        for tier, below in self._found:
            index, there, coming = tier.lineage.index, below.lineage.index, self._state.incoming[below.name]
            new = [key for key in dict.fromkeys(keys) if key in index and key not in there and key not in coming]
            if below.spec.admission == "selective":
                often = [key for key in new if tier.seen[index[key]] >= below.spec.seen_min]
                self._paths.refuse(tier, below, "seen", len(new) - len(often))
                new = often
            if new and self._is_wanted(tier, below, priority, len(new)):
                self._paths.offer(tier, below, new, priority)

    def offer_next_victims(self, tier: Tier, count: int) -> None:
        """So many blocks were allocated: offer those that would be evicted next, unless enough of them are already."""
        below = self._victims.get(tier.name)
        if not below:
            return
        ahead = min(AHEAD, tier.spec.capacity // AHEAD_SHARE)
        left = self._offered.get(tier.name, 0) - count
        if left < max(count, ahead // 2):
            left = self._offer_victims(tier, below, max(count, ahead))
        self._offered[tier.name] = left

    def evicted(self, event: Evicted) -> None:
        """Blocks left a tier. Where the one below takes what leaves, it may not have been asked."""
        below = self._victims.get(event.tier)
        if below and event.reason == "capacity":
            tier, there, coming = self._state.tiers[event.tier], below.lineage.index, self._state.incoming[below.name]
            lost = [key for key in unpack_keys(event.keys) if key not in there and key not in coming]
            sudden = [key for key in lost if not self._paths.is_offered(tier, below, key)]
            self._paths.refuse(tier, below, "sudden", len(sudden))

    def _offer_victims(self, tier: Tier, below: Tier, count: int) -> int:
        """Offer the next victims; how many there are."""
        ends: dict[int, int] = {}
        found = 0
        for chain, size in tier.policy.victims(count):
            end = ends.get(chain.id, len(chain.keys))
            ends[chain.id] = end - size
            found += size
            self._paths.offer(tier, below, chain.keys[end - size : end], NOBODYS_PRIORITY)
        return found

    def _is_wanted(self, tier: Tier, below: Tier, priority: int, blocks: int) -> bool:
        if priority >= below.spec.priority_min:
            return True
        self._paths.refuse(tier, below, "priority", blocks)
        return False
