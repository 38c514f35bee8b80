"""Another instance, with blocks in object storage by its log: its bytes are in memory, for those who only ask what there is."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from support.service import NAMESPACE


def write_objects(url: str, instance: str, keys: Sequence[str], *, namespace: str = NAMESPACE) -> None:
    """Compute blocks, bring them to g4, and end; to be called beside the event loop."""
    with BlockManager.open(url, instance, namespace=namespace, tiers=parse_plan("g1=32,g4=64")) as owner:
        owner.register("r", owner.allocate("r", len(keys)), keys)
        owner.release("r")
        owner.offload(keys, tier="g4")
        assert owner.settle()
        assert owner.resident(keys, "g4")
