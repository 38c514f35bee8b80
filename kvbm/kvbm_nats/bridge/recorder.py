"""An engine's events as commands to the owner of an observed instance."""

from __future__ import annotations

from kvbm_events.schema import EvictReason
from kvbm_events.schema.errors import TierFull
from kvbm_nats.bridge.wire import EngineEvent, Removed, Stored
from kvbm_nats.manager import BlockManager

REQUEST = "engine"
"""Who is said to have filled the blocks: the events do not tell."""
ACTOR = "engine"


class Recorder:
    """Writes what an engine says. Events do not number slots, so a block gets any that is free.

    :ivar unrecorded: blocks for which the tier had no room: the engine has more than was said
    """

    def __init__(self, manager: BlockManager) -> None:
        self._manager = manager
        self.unrecorded = 0

    def record(self, event: EngineEvent) -> None:
        """Write one event. What is there already, or is not there any more, is passed over."""
        if isinstance(event, Stored):
            self._store(event)
        elif isinstance(event, Removed):
            self._evict(event, "capacity")
        else:
            for tier in self._manager.state.tiers.values():
                self._evict(Removed(tier.name, [*tier.lineage.index]), "reset")

    def _store(self, event: Stored) -> None:
        tier = self._manager.state.tiers.get(event.tier)
        if tier is None:
            self.unrecorded += len(event.keys)
            return
        parents = [event.parent, *event.keys]
        run: list[int] = []
        for at in range(len(event.keys) + 1):
            if at < len(event.keys) and event.keys[at] not in tier.lineage.index:
                run.append(at)
            elif run:
                self._register(event, run, parents[run[0]])
                run = []

    def _register(self, event: Stored, run: list[int], parent: str) -> None:
        manager, keys = self._manager, list(dict.fromkeys(event.keys[at] for at in run))
        try:
            slots = manager.allocate(REQUEST, len(keys), tier=event.tier)
        except TierFull:
            self.unrecorded += len(keys)
            return
        manager.register(REQUEST, slots, keys, parent=parent, tier=event.tier)
        manager.release(REQUEST)  # who uses them, the engine knows and we do not

    def _evict(self, event: Removed, reason: EvictReason) -> None:
        if event.keys and event.tier in self._manager.state.tiers:
            self._manager.evict(event.keys, tier=event.tier, reason=reason, actor=ACTOR)
