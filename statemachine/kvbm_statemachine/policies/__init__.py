"""Eviction policies, by name. A new one is a module here, a line in `POLICIES`, and passes `tests/statemachine`."""

from __future__ import annotations

from kvbm_events.schema.errors import InvalidCommand
from kvbm_statemachine.lineage import Lineage
from kvbm_statemachine.policies.arc import Arc
from kvbm_statemachine.policies.base import Policy, Victims
from kvbm_statemachine.policies.fifo import Fifo
from kvbm_statemachine.policies.lineage_lru import LineageLru
from kvbm_statemachine.policies.lru import Lru
from kvbm_statemachine.policies.s3fifo import S3Fifo
from kvbm_statemachine.policies.w_tinylfu import WTinyLfu

__all__ = ["POLICIES", "Policy", "Victims", "make_policy"]

POLICIES: dict[str, type[Policy]] = {policy.name: policy for policy in (LineageLru, Lru, Fifo, S3Fifo, Arc, WTinyLfu)}


def make_policy(name: str, lineage: Lineage, capacity: int) -> Policy:
    """A new policy over an empty lineage.

    Raises:
        InvalidCommand: there is no policy of this name; the message lists those that are.
    """
    if name not in POLICIES:
        raise InvalidCommand(f"there is no policy {name!r}", hint=f"choose one of {', '.join(POLICIES)}")
    return POLICIES[name](lineage, capacity)
