"""evict: blocks that somebody wants gone, by key."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import MAX_BLOCKS, Evicted, EvictReason, TierName, check_keys, to_runs
from kvbm_events.schema.errors import BlockHeld, InvalidCommand
from kvbm_statemachine.decide.desk import Desk
from kvbm_statemachine.lineage import Chain
from kvbm_statemachine.tier import Tier


def evict(desk: Desk, tier: TierName, keys: Sequence[str], *, reason: EvictReason, actor: str) -> int:
    """Evict these blocks and all that stand on them; how many that were. Keys that are not there are passed over.

    Corrupt blocks go even while they are held: they cannot be matched any more, and their slots become free when the
    last holder lets go.

    Raises:
        BlockHeld: a request or transfer uses one of them (unless the reason is corrupt); nothing was evicted.
        InvalidCommand, UnknownTier: as they say.
    """
    place = desk.state.tier(tier)
    check_keys(keys)
    if reason == "capacity":
        raise InvalidCommand("eviction for capacity", why="only an allocation decides that", hint="use operator")
    parts = _with_descendants(place, keys)
    if reason != "corrupt" and (held := _held(place, parts)):
        raise BlockHeld(
            f"block {held} of {tier} is in use",
            why="a request or a transfer holds it, or a block that stands on it",
            hint="release the request first, or wait for it",
        )
    total = 0
    for slots, names in _events(parts):
        state = desk.state
        event = Evicted(
            epoch=state.epoch,
            n=state.n + 1,
            at_us=desk.now_us,
            tier=tier,
            slots=to_runs(slots),
            keys="".join(names),
            reason=reason,
            actor=actor,
        )
        desk.emit(event)
        total += len(slots)
    return total


def _with_descendants(tier: Tier, keys: Sequence[str]) -> list[tuple[Chain, int]]:
    """The chains to shorten, children first, each with the index of its first block that goes."""
    lineage = tier.lineage
    first: dict[int, int] = {}
    for key in keys:
        if key in lineage.index:
            slot = lineage.index[key]
            chain = lineage.chain_of(slot)
            first[chain.id] = min(lineage.position(slot) - chain.base, first.get(chain.id, len(chain.slots)))
    stack = list(first)
    while stack:
        chain = lineage.chains[stack.pop()]
        for slot in chain.slots[first[chain.id] :]:
            for child in lineage.branches.get(slot, ()):
                if not child.condemned and first.get(child.id) != 0:
                    first[child.id] = 0
                    stack.append(child.id)
    deepest_first = sorted(first, key=lambda chain_id: -_depth(tier, lineage.chains[chain_id]))
    return [(lineage.chains[chain_id], first[chain_id]) for chain_id in deepest_first]


def _depth(tier: Tier, chain: Chain) -> int:
    """Chains above this one."""
    return sum(1 for _ in tier.lineage.path(chain.slots[0])) - 1


def _held(tier: Tier, parts: list[tuple[Chain, int]]) -> str:
    """The key of a block among the parts that somebody other than a child chain pins; empty if there is none."""
    for chain, first in parts:
        for slot, pins in chain.pins.items():
            if tier.lineage.position(slot) - chain.base >= first and pins > len(tier.lineage.branches.get(slot, ())):
                return tier.lineage.key_of(slot)
    return ""


def _events(parts: list[tuple[Chain, int]]) -> list[tuple[list[int], list[str]]]:
    """Slots and keys of each event: whole ends of chains, at most `MAX_BLOCKS`, the deepest first."""
    events: list[tuple[list[int], list[str]]] = [([], [])]
    for chain, first in parts:
        end = len(chain.slots)
        while end > first:
            slots, names = events[-1]
            room = MAX_BLOCKS - len(slots)
            if not room:
                events.append(([], []))
                continue
            start = max(first, end - room)
            slots += chain.slots[start:end]
            names += chain.keys[start:end]
            end = start
    return [event for event in events if event[0]]
