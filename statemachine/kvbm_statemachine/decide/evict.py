"""evict: blocks that somebody wants gone, by key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from kvbm_events.schema import LOST, MAX_BLOCKS, Evicted, EvictReason, TierName, check_keys, to_runs
from kvbm_events.schema.errors import BlockHeld, InvalidCommand
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.decide.desk import Desk
from kvbm_statemachine.lineage import Chain
from kvbm_statemachine.tier import Tier


def evict(desk: Desk, tier: TierName, keys: Sequence[str], *, reason: EvictReason, actor: str) -> int:
    """Evict these blocks and all that stand on them; how many that were. Keys that are not there are passed over.

    Blocks that are lost (corrupt, gone, or their memory was reset) go even while they are held: they cannot be matched any more,
    and their slots become free when the last holder lets go. Of an observed tier the engine has evicted these blocks and no
    others, in this order and for whatever reason: that is recorded as it is.

    Raises:
        BlockHeld: a request or transfer uses one of them (unless they are lost); nothing was evicted.
        InvalidCommand, UnknownTier: as they say.
    """
    place = desk.state.tier(tier)
    check_keys(keys)
    total = 0
    parts = _as_told(place, keys) if place.observed else _decided(place, keys, reason)
    for columns, writer in by_writer(place, parts):
        state = desk.state
        event = Evicted(
            epoch=state.epoch,
            n=state.n + 1,
            at_us=desk.now_us,
            tier=tier,
            slots=to_runs(columns.slots),
            keys="".join(columns.keys),
            reason=reason,
            actor=actor,
            writer=writer,
        )
        desk.emit(event)
        total += len(columns.slots)
    return total


def by_writer(tier: Tier, parts: Iterable[Columns]) -> Iterator[tuple[Columns, str]]:
    """What is evicted, cut so that each event has blocks of one writer, the end of a chain first; empty for this instance."""
    for columns in parts:
        if not tier.writers:
            yield columns, ""
            continue
        chain_of, writer_of = tier.lineage.chain_of, tier.writers.get
        blocks = [*zip(columns.keys, columns.slots, strict=True)]
        runs: list[tuple[str, Columns]] = []
        for _, chain in groupby(blocks, key=lambda block: chain_of(block[1]).id):
            cut = [(who, [*run]) for who, run in groupby(chain, key=lambda block: writer_of(block[1], ""))]
            runs += [(who, Columns([key for key, _ in run], [slot for _, slot in run])) for who, run in cut[::-1]]
        for writer, same in groupby(runs, key=lambda each: each[0]):
            group = [each for _, each in same]
            yield (
                Columns([key for each in group for key in each.keys], [at for each in group for at in each.slots]),
                writer,
            )


def _as_told(tier: Tier, keys: Sequence[str]) -> list[Columns]:
    """What an engine evicted, event by event."""
    index = tier.lineage.index
    there = [key for key in dict.fromkeys(keys) if key in index]
    parts = [there[at : at + MAX_BLOCKS] for at in range(0, len(there), MAX_BLOCKS)]
    return [Columns(part, [index[key] for key in part]) for part in parts]


def _decided(tier: Tier, keys: Sequence[str], reason: EvictReason) -> list[Columns]:
    """What we evict, event by event."""
    if reason == "capacity":
        raise InvalidCommand("eviction for capacity", why="only an allocation decides that", hint="use operator")
    parts = _with_descendants(tier, keys)
    if reason not in LOST and (held := _held(tier, parts)):
        raise BlockHeld(
            f"block {held} of {tier.name} is in use",
            why="a request or a transfer holds it, or a block that stands on it",
            hint="release the request first, or wait for it",
        )
    return _events(parts)


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
            for child in lineage.children(slot):
                if not child.condemned and first.get(child.id) != 0:
                    first[child.id] = 0
                    stack.append(child.id)
    deepest_first = sorted(first, key=lambda chain_id: -_depth(tier, lineage.chains[chain_id]))
    return [(lineage.chains[chain_id], first[chain_id]) for chain_id in deepest_first]


def _depth(tier: Tier, chain: Chain) -> int:
    """Chains above this one."""
    return sum(1 for _ in tier.lineage.path(chain.slots[0])) - 1


def _held(tier: Tier, parts: list[tuple[Chain, int]]) -> str:
    """The key of a block among the parts that is pinned by more than child chains that go too; empty if none is."""
    lineage = tier.lineage
    for chain, first in parts:
        for slot, pins in chain.pins.items():
            going = sum(not child.condemned for child in lineage.children(slot))
            if lineage.position(slot) - chain.base >= first and pins > going:
                return lineage.key_of(slot)
    return ""


def _events(parts: list[tuple[Chain, int]]) -> list[Columns]:
    """Whole ends of chains, at most `MAX_BLOCKS` an event, the deepest first."""
    events = [Columns([], [])]
    for chain, first in parts:
        end = len(chain.slots)
        while end > first:
            names, slots = events[-1].keys, events[-1].slots
            room = MAX_BLOCKS - len(slots)
            if not room:
                events.append(Columns([], []))
                continue
            start = max(first, end - room)
            names += chain.keys[start:end]
            slots += chain.slots[start:end]
            end = start
    return [event for event in events if event.slots]
