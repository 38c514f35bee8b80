"""What vLLM gives to a waiting request, and what is recorded of the look-up behind it."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import TierName
from kvbm_nats.connectors.vllm.engine import BlockIds
from kvbm_nats.connectors.vllm.groups import Group, found_in, missing, parts
from kvbm_nats.connectors.vllm.tracked import Tracked
from kvbm_nats.manager import BlockManager

Load = tuple[TierName, list[str], list[int]]
"""Keys in one tier, and the slots that they are to come to."""


class Admission:
    """VLLM has given blocks to a waiting request: `loads` of them, behind its local ones, are to be loaded.

    :ivar whole: blocks that would be found if no window was missing
    :ivar keys, slots: of all blocks that are to be loaded
    :ivar reused: what vLLM has given for them
    """

    def __init__(self, tracked: Tracked, block_ids: BlockIds, loads: int, groups: Sequence[Group]) -> None:
        self.tracked, self.loads, self._groups = tracked, loads, groups
        self.local, self.whole = tracked.local, tracked.whole
        self._parts = parts(groups, tracked, block_ids, self.local + loads) if loads else []
        self.keys = [key for part in self._parts for key in part.keys]
        self.slots = [slot for part in self._parts for slot in part.slots]
        self.reused = [slot for ids in block_ids for slot in ids[self.local :]] if loads else []

    def look_up(self, manager: BlockManager) -> list[Load]:
        """Record what was looked up, group by group, and say from where each block comes.

        Last is what says why nothing more was found: windows that are missing, or else the groups without one.
        """
        name, found = self.tracked.name, list[Load]()
        wanted = {part.group: part for part in self._parts}
        for part in self._parts:
            if part.group.window and part.keys:
                hits = manager.match(name, part.keys, local=0, start=part.start)
                found += found_in(part, hits)
        for group in self._groups:
            if not group.window:
                keys = group.keys(self.tracked)
                hits = manager.match(name, keys, local=min(self.local, len(keys)))
                found += found_in(wanted[group], hits) if group in wanted else ()
        if self.whole > self.local + self.loads:
            for part in missing(manager, self._groups, self.tracked, self.whole):
                manager.match(name, part.keys, hold=False, local=0, start=part.start)
        return found
