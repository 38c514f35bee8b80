"""A question that comes again after the owner was restarted: whether the log says that it was done before.

The new owner has no answers to give again, but the state tells what a `register` or a `release` did. Of an `allocate`
it cannot tell: the request may then hold slots that nobody fills, until it is released.
"""

from __future__ import annotations

from kvbm_nats.manager import BlockManager
from kvbm_nats.service.messages import Call, RegisterCall


def is_over_restart(manager: BlockManager, call: Call) -> bool:
    """Whether the question was put first to an owner before this one."""
    return call.attempt > 0 and 0 < call.epoch < manager.state.epoch


def registered_before(manager: BlockManager, call: RegisterCall) -> list[int]:
    """The slots that the earlier owner registered for this question; none where it did not."""
    request, tier = manager.state.requests.get(call.request), manager.state.tiers.get(call.tier)
    if request is None or tier is None or not call.keys or not is_over_restart(manager, call):
        return []
    index = tier.lineage.index
    slots = [index[key] for key in call.keys if key in index]
    is_done = len(slots) == len(call.keys) and slots[-1] in request.pins.get(call.tier, ())
    return slots if is_done else []
