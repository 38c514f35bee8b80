"""Batches of blocks on their way from tier to tier."""

from __future__ import annotations

from typing import Literal

from kvbm_events.schema import Runs, TierName, TransferStarted, to_slots, unpack_keys
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.lineage import NO_SLOT

Kind = Literal["offload", "onboard"]


class Transfer:
    """One open transfer. It is over when every destination slot has arrived or failed and none is quarantined.

    :ivar source_slot: the deepest source block, pinned while a slot is open; `NO_SLOT` afterwards, or if its tier was reset
    :ivar keys: key of each block, in chain order
    :ivar slots: destination slot of each block
    :ivar open: position of each destination slot that has neither arrived nor failed, by slot
    :ivar quarantined: failed destination slots whose mover may still write
    """

    __slots__ = (
        "deadline_us",
        "id",
        "keys",
        "kind",
        "open",
        "parent",
        "priority",
        "quarantined",
        "request",
        "slots",
        "source",
        "source_slot",
        "source_slots",
        "tier",
    )

    def __init__(self, kind: Kind, started: TransferStarted) -> None:
        self.kind: Kind = kind
        self.id, self.request, self.priority = started.transfer, started.request, started.priority
        self.source: TierName = started.source
        self.tier: TierName = started.tier
        self.deadline_us, self.parent = started.deadline_us, started.parent
        self.keys, self.slots = unpack_keys(started.keys), to_slots(started.slots)
        self.source_slots = started.source_slots
        self.source_slot = to_slots(started.source_slots[-1:])[-1]
        self.open = {slot: at for at, slot in enumerate(self.slots)}
        self.quarantined: set[int] = set()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it can change any more."""
        return not self.open and not self.quarantined

    @property
    def has_source(self) -> bool:
        """Whether its source blocks are still there, and pinned."""
        return self.source_slot != NO_SLOT

    def positions(self, runs: Runs) -> list[int]:
        """Positions of destination slots that are still open.

        Raises:
            IllegalTransition: one is not.
        """
        slots = to_slots(runs)
        if not self.open.keys() >= set(slots):
            wrong = next(slot for slot in slots if slot not in self.open)
            raise IllegalTransition(f"slot {wrong} of transfer {self.id}", why="it is not under way")
        return [self.open[slot] for slot in slots]

    def parent_at(self, position: int) -> str:
        """The key before a block."""
        return self.keys[position - 1] if position else self.parent

    def abandon(self, slots_left: int) -> list[int]:
        """Its destination starts empty, with so many slots: nothing arrives there any more. Where it may still write."""
        self.quarantined = {slot for slot in (*self.open, *self.quarantined) if slot < slots_left}
        self.open.clear()
        return sorted(self.quarantined)

    def forget_source(self) -> None:
        """Nothing of the source is needed any more, or its tier was reset: there is nothing to pin."""
        self.source_slot = NO_SLOT
