"""A model's KV-cache groups: which attend to the whole prefix and which to a window of it, and what a prefix needs of each.

Blocks of the first group have the connector's keys, and those of others the keys that the tier gives them. In a group with a
window a chain begins wherever blocks are that those before them are not (ADR 30).
"""

# pyright: reportMissingImports=false
# vLLM is not installed where types are checked

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.connectors.vllm.engine import BlockIds
from kvbm_nats.connectors.vllm.tracked import Tracked
from kvbm_nats.manager import BlockManager
from kvbm_statemachine.decide import Hit
from kvbm_statemachine.decide.lookup import PROMPT, Start

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
    """Blocks of one group that follow each other, where they begin in the prompt, and where they are to be loaded."""

    group: Group
    start: Start
    keys: list[str]
    slots: list[int]


class Found(NamedTuple):
    """What is below for a prompt.

    :ivar end: so many of its first blocks could be there after a load
    :ivar whole: so many, if windows were there too: those of groups that attend to the whole prefix are
    :ivar tiers: how many of the blocks beyond vLLM's, by tier
    """

    end: int
    whole: int
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
    local, end = tracked.local, max(limit, tracked.local)
    tiers = list[TierName]()
    for group in groups:
        if not group.window:
            below = _below(manager, group.keys(tracked)[:end], local)
            if len(below) < end - local or not tiers:
                tiers = below
            end = min(end, local + len(below))
    whole, before = end, -1
    while end not in {local, before}:
        before = end
        for group in groups:
            if group.window:
                end, below = _window_end(manager, group, group.keys(tracked), local, end)
                tiers = tiers or below[-1:] * (end - local)  # no group attends to everything
    found: dict[str, int] = {}
    for tier in tiers[: end - local]:
        found[tier] = found.get(tier, 0) + 1
    return Found(end, whole, found)


def _below(manager: BlockManager, keys: Sequence[str], local: int) -> list[TierName]:
    """In which tier below vLLM's each block is behind its first ones, as far as they are there."""
    return [hit.tier for hit in manager.look(keys, local=local) if hit.tier != "g1" for _ in hit.slots]


def _window_end(
    manager: BlockManager, group: Group, keys: Sequence[str], local: int, end: int
) -> tuple[int, list[TierName]]:
    """The longest prefix, of `end` blocks at most, whose window is there; and where each block of the window is."""
    while end > local:
        first = group.first(local, end)
        below = _below(manager, keys[first:end], 0)
        if len(below) == end - first:
            return end, below
        end = first + len(below)
    return end, []


def missing(manager: BlockManager, groups: Sequence[Group], tracked: Tracked, whole: int) -> list[Part]:
    """Of the windows at the end of `whole` blocks that are not there: up to the end of the first gap."""
    found: list[Part] = []
    for group in groups:
        if group.window:
            keys, first = group.keys(tracked), group.first(tracked.local, whole)
            at = first + len(_below(manager, keys[first:whole], 0))
            end = next((end for end in range(at, whole) if _below(manager, keys[end : end + 1], 0)), whole)
            if at < end:
                found.append(Part(group, start_at(keys, first), keys[first:end], []))
    return found


def parts(groups: Sequence[Group], tracked: Tracked, block_ids: BlockIds, end: int) -> list[Part]:
    """What is to be loaded for a prefix of `end` blocks, and where vLLM wants it."""
    found: list[Part] = []
    for group, ids in zip(groups, block_ids, strict=True):
        places = [at for at in range(group.first(tracked.local, end), end) if ids[at] != NULL_BLOCK]
        keys, start = group.keys(tracked), start_at(group.keys(tracked), places[0] if places else end)
        found.append(Part(group, start, [keys[at] for at in places], [ids[at] for at in places]))
    return found


def start_at(keys: Sequence[str], block: int) -> Start:
    """Where a look-up begins that leaves out the first blocks."""
    return Start(block, keys[block - 1]) if block else PROMPT


def found_in(part: Part, hits: Sequence[Hit]) -> Iterator[tuple[TierName, list[str], list[int]]]:
    """Where the blocks of a part are, by what a look-up that ends with them has found."""
    at = 0
    for hit in hits:
        if hit.tier != "g1" and at < len(part.keys):
            end = at + len(hit.slots)
            yield hit.tier, part.keys[at:end], part.slots[at:end]
            at = end
