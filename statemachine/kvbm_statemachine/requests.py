"""Who holds what: requests with their allocated slots and their pins."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.schema import Runs, TierName, split_runs, to_runs, to_slots, total
from kvbm_events.schema.errors import IllegalTransition


class Request(Struct, eq=False, gc=False):
    """One open request.

    :ivar allocated: by tier, the slots that it was given and has not registered, in the order given
    :ivar pins: by tier, the registered slots that it pins: the deepest block of each prefix that it uses
    """

    name: str
    priority: int
    allocated: dict[TierName, Runs] = {}
    pins: dict[TierName, list[int]] = {}

    def without(self, tier: TierName, part: Runs) -> Runs:
        """What stays allocated in the tier if `part` goes.

        Raises:
            IllegalTransition: `part` has a slot that is not allocated to this request.
        """
        own = self.allocated.get(tier, [])
        if own == part:
            return []
        head, rest = split_runs(own, total(part))
        if head == part:
            return rest
        gone, slots = set(to_slots(part)), to_slots(own)
        if not gone <= set(slots):
            slot = min(gone.difference(slots))
            raise IllegalTransition(f"slot {slot} of {tier}", why=f"it is not allocated to request {self.name!r}")
        return to_runs([slot for slot in slots if slot not in gone])

    def keep(self, tier: TierName, runs: Runs) -> None:
        """Set what is allocated in the tier."""
        if runs:
            self.allocated[tier] = runs
        else:
            self.allocated.pop(tier, None)
