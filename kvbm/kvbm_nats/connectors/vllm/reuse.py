"""Blocks that vLLM gives to requests in a step: whatever they held until then is gone."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import TierName
from kvbm_nats.connectors.vllm.engine import Step
from kvbm_nats.manager import BlockManager


def new_blocks(step: Step, block_tokens: int) -> list[int]:
    """The blocks that scheduled requests were given, other than those whose content they share or have loaded.

    A prompt that was loaded to its end has one token less computed than it has: the block of that token is not new.
    """
    found: list[int] = []
    for new in step.scheduled_new_reqs:
        for ids in new.block_ids:
            found += ids[-(-new.num_computed_tokens // block_tokens) :]
    cached = step.scheduled_cached_reqs
    resumed = set(cached.resumed_req_ids)
    for request_id, groups, tokens in zip(
        cached.req_ids, cached.new_block_ids, cached.num_computed_tokens, strict=True
    ):
        for ids in groups or ():
            found += ids[-(-tokens // block_tokens) if request_id in resumed else 0 :]
    return found


def beginning(step: Step) -> set[str]:
    """Requests that are scheduled for the first time, or again after a preemption.

    What such a one has in vLLM's cache may be computed in this very step, for another request: it is not there yet.
    """
    return {new.req_id for new in step.scheduled_new_reqs}.union(step.scheduled_cached_reqs.resumed_req_ids)


def release_holders(manager: BlockManager, tier: TierName, slots: Sequence[int]) -> None:
    """Let requests go that are said to hold what vLLM has taken away from under them.

    That is so where two requests computed one block: the second one holds the slot of the first, and uses its own. And vLLM's
    host memory is held by copies only, not by the requests whose blocks are in it.
    """
    lineage = manager.state.tiers[tier].lineage
    pinned = {slot for slot in slots if slot in lineage.chain_of(slot).pins}
    if not pinned:
        return
    for name, request in [*manager.state.requests.items()]:
        if not pinned.isdisjoint(request.pins.get(tier, ())):
            manager.release(name, tier=tier)
