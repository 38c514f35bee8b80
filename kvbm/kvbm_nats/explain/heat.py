"""tier_heat: every slot of a tier by its state and by when its block was last used, in cells of neighbours.

The log does not say when a block was used last; it says when each was registered and found. So the journal is read backwards
until every block has its time, or `EVENTS` are read: what is older than that has none.
"""

from __future__ import annotations

from array import array
from itertools import islice

from kvbm_events.schema import Matched, TierName, to_slots
from kvbm_nats.explain.answers import Cell, TierHeat
from kvbm_nats.explain.look_up import Told
from kvbm_nats.projection import Projection
from kvbm_statemachine import SlotState, State
from kvbm_statemachine.tier import Tier

EVENTS = 4000
PAGE = 500
CELLS = 512
"""Cells of a tier at most; a cell is one slot where that is enough."""
_USES = ("Matched", "Registered", "OffloadCompleted", "OnboardCompleted")


async def tiers_heat(
    projection: Projection, instance: str, state: State, until: int, *, cells: int = CELLS
) -> list[TierHeat]:
    """All tiers of an instance, fastest first. `state` is its state after the entry at `until`."""
    uses: dict[TierName, _Uses] = {name: _Uses(state, name) for name in state.tiers}
    read, end = 0, until
    while read < EVENTS and any(each.unknown for each in uses.values()):
        rows = await projection.journal(instance, types=_USES, until=end, limit=PAGE, newest_first=True)
        for told in [Told.of(row) for row in rows if row.applied_seq is not None]:
            _note(told, uses)
        if len(rows) < PAGE:
            break
        read, end = read + len(rows), rows[-1].seq - 1
    return [_heat(state, name, uses[name].at_us, cells) for name in state.tiers]


class _Uses:
    """When each slot's block was last used; 0 where that is not known (yet).

    :ivar unknown: registered slots without a time
    """

    def __init__(self, state: State, name: TierName) -> None:
        tier = state.tiers[name]
        self._states, self._lineage = tier.slots.states, tier.lineage
        self.at_us = array("q", bytes(8 * tier.spec.capacity))
        self.unknown = tier.slots.count(SlotState.REGISTERED)

    def note(self, slots: list[int], at_us: int) -> None:
        for slot in slots:
            if slot < len(self.at_us) and not self.at_us[slot] and self._states[slot] == SlotState.REGISTERED:
                self.at_us[slot] = at_us
                self.unknown -= 1

    def note_found(self, last: str, blocks: int, at_us: int) -> None:
        """A look-up found so many blocks, the last of them this one."""
        slot = self._lineage.index.get(last)
        if slot is not None and self.unknown:
            up = (each for chain, size in self._lineage.path(slot) for each in reversed(chain.slots[:size]))
            self.note(list(islice(up, blocks)), at_us)


def _note(told: Told, uses: dict[TierName, _Uses]) -> None:
    event = told.event
    if isinstance(event, Matched):
        for part in event.found:
            if part.tier in uses:
                uses[part.tier].note_found(part.last, part.blocks, event.at_us)
    elif told.row.tier in uses:
        uses[told.row.tier].note(to_slots(getattr(event, "slots", [])), event.at_us)


def _heat(state: State, name: TierName, at_us: array[int], cells: int) -> TierHeat:
    capacity = state.tiers[name].slots.capacity
    size = max(1, -(-capacity // cells))
    return TierHeat(
        tier=name,
        capacity=capacity,
        cell_slots=size,
        cells=[_cell(state.tiers[name], at_us, first, size) for first in range(0, capacity, size)],
    )


def _cell(tier: Tier, at_us: array[int], first: int, size: int) -> Cell:
    part = tier.slots.states[first : first + size]
    times = at_us[first : first + size]
    used_us = max(times)
    newest = times.index(used_us) if used_us else part.find(SlotState.REGISTERED)
    return Cell(
        first=first,
        slots=len(part),
        free=part.count(SlotState.FREE),
        allocated=part.count(SlotState.ALLOCATED),
        registered=part.count(SlotState.REGISTERED),
        closed=part.count(SlotState.CONDEMNED) + part.count(SlotState.QUARANTINED),
        used_us=used_us,
        key=tier.lineage.key_of(first + newest) if newest >= 0 else "",
    )
