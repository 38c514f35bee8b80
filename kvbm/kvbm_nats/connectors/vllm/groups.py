"""A model's KV-cache groups: which attend to the whole prefix and which to a window of it, and what a prefix needs of each.

Blocks of the first group have the connector's keys, and those of others the keys that the tier gives them. In a group with a
window every block stands alone in the lineage (ADR 25).
"""

# pyright: reportMissingImports=false
# vLLM is not installed where types are checked

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.connectors.vllm.engine import BlockIds
from kvbm_nats.connectors.vllm.tracked import Tracked
from kvbm_nats.manager import BlockManager
from kvbm_statemachine.decide import Hit
from kvbm_statemachine.lineage import NO_SLOT

NULL_BLOCK = 0
"""vLLM's placeholder for a block that nobody needs: it is never read nor written."""


class Group(NamedTuple):
    """One of a model's groups.

    :ivar window: blocks before a position that the position needs; 0 for all
    """

    number: int
    window: int = 0

    def first(self, local: int, end: int) -> int:
        """The first block beyond `local` that a prefix of `end` blocks needs."""
        return max(local, end - self.window) if self.window else local

    def keys(self, tracked: Tracked) -> list[str]:
        """The key of each full block of a request."""
        return tracked.keys(self.number)


class Part(NamedTuple):
    """Blocks of one group that are to be loaded, in prefix order."""

    group: Group
    keys: list[str]
    slots: list[int]


class Found(NamedTuple):
    """What is below for a prompt: up to `end` blocks of it; by tier, how many of the blocks beyond vLLM's."""

    end: int
    tiers: dict[str, int]


ONE = (Group(0),)
"""Of a model whose layers all attend to the whole prefix."""


def groups_of(kv_cache_config: Any, block_tokens: int) -> tuple[Group, ...]:
    """What vLLM has made of a model's layers.

    Raises:
        InvalidCommand: a group is of a kind that is not served, or its blocks are of another size.
    """
    from vllm.v1.kv_cache_interface import FullAttentionSpec, SlidingWindowSpec  # noqa: PLC0415 - tests have no vLLM

    found: list[Group] = []
    for number, each in enumerate(kv_cache_config.kv_cache_groups):
        spec, window = each.kv_cache_spec, 0
        of_layers = getattr(spec, "kv_cache_specs", {"": spec}).values()
        if isinstance(spec, SlidingWindowSpec):
            window = window_blocks(spec.sliding_window + spec.extra_retained_tokens, block_tokens)
        elif not all(isinstance(layer, FullAttentionSpec) for layer in of_layers):
            raise InvalidCommand(
                f"a KV-cache group of {type(spec).__name__}",
                why="groups of full attention and of sliding windows are served beside each other, as yet",
                hint="--disable-hybrid-kv-cache-manager, or the tier",
            )
        if (window or number) and spec.block_size != block_tokens:
            raise InvalidCommand(
                f"a KV-cache group with blocks of {spec.block_size} tokens beside {block_tokens}",
                why="blocks of all groups must be of one size",
                hint="--disable-hybrid-kv-cache-manager, or the tier",
            )
        found.append(Group(number, window))
    return tuple(found)


def window_blocks(window_tokens: int, block_tokens: int) -> int:
    """How many blocks before a block's start its first token attends to; it is one of its window itself."""
    return max(1, -(-(window_tokens - 1) // block_tokens))


def look(manager: BlockManager, groups: Sequence[Group], tracked: Tracked, limit: int) -> Found:
    """How many of the first `limit` blocks of a prompt could be there after a load.

    Groups without a window must have all of them, those with one the blocks of the window at the end.
    """
    local, tiers, end = tracked.local, list[TierName](), limit
    for group in groups:
        if not group.window:
            hits = manager.look(group.keys(tracked)[:end], local=local)
            below: list[TierName] = [hit.tier for hit in hits if hit.tier != "g1" for _ in hit.slots]
            if len(below) < end - local or not tiers:
                tiers = below
            end = min(end, local + len(below))
    windowed = [group for group in groups if group.window]
    known: dict[str, TierName | None] = {}

    def tier_of(key: str) -> TierName | None:
        if key not in known:
            known[key] = _below(manager, key)
        return known[key]

    before = -1
    while windowed and end > local and end != before:
        before = end
        for group in windowed:
            end = _window_end(group, group.keys(tracked), local, end, tier_of)
    if end > local and not tiers:  # no group attends to everything
        last = tier_of(windowed[0].keys(tracked)[end - 1])
        tiers = [last] * (end - local) if last else []
    found: dict[str, int] = {}
    for tier in tiers[: max(0, end - local)]:
        found[tier] = found.get(tier, 0) + 1
    return Found(max(end, local), found)


def _window_end(
    group: Group, keys: Sequence[str], local: int, end: int, tier_of: Callable[[str], TierName | None]
) -> int:
    """The longest prefix, of `end` blocks at most, whose window is there."""
    at = end - 1
    while end > local and at >= group.first(local, end):
        if tier_of(keys[at]) is None:
            end = at
        at -= 1
    return end


def parts(groups: Sequence[Group], tracked: Tracked, block_ids: BlockIds, end: int) -> list[Part]:
    """What is to be loaded for a prefix of `end` blocks, and where vLLM wants it."""
    found: list[Part] = []
    for group, ids in zip(groups, block_ids, strict=True):
        places = [at for at in range(group.first(tracked.local, end), end) if ids[at] != NULL_BLOCK]
        keys = group.keys(tracked)
        found.append(Part(group, [keys[at] for at in places], [ids[at] for at in places]))
    return found


def found_in(part: Part, hits: Sequence[Hit]) -> Iterator[tuple[TierName, list[str], list[int]]]:
    """Where the blocks of a group are that has all of a prefix, by what a look-up of it has found."""
    at = 0
    for hit in hits:
        if hit.tier != "g1" and at < len(part.keys):
            end = at + len(hit.slots)
            yield hit.tier, part.keys[at:end], part.slots[at:end]
            at = end


def sources(manager: BlockManager, part: Part) -> Iterator[tuple[TierName, list[str], list[int]]]:
    """Where the blocks of a window are: those of one tier that follow each other, together."""
    run: tuple[TierName, list[str], list[int]] | None = None
    for key, slot in zip(part.keys, part.slots, strict=True):
        tier = _below(manager, key)
        if run and run[0] != tier:
            yield run
            run = None
        if tier:
            run = run or (tier, [], [])
            run[1].append(key)
            run[2].append(slot)
    if run:
        yield run


def _below(manager: BlockManager, key: str) -> TierName | None:
    """Where a block of a window is; not at a peer, whose blocks are noted by a look-up of a whole prefix only."""
    hits = manager.look([key], local=0)
    return next((hit.tier for hit in hits if hit.tier != "g1" and NO_SLOT not in hit.slots), None)
