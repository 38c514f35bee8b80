"""An event's columns unpacked: an owner has them at hand and need not unpack what it has just packed."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.schema import Runs, to_slots, unpack_keys


class Columns(Struct, gc=False):
    """Keys and slots of one event, block by block. Who hands them over must not change them afterwards."""

    keys: list[str]
    slots: list[int]

    @classmethod
    def of(cls, keys: str, slots: Runs) -> Columns:
        """Unpack the columns as they stand in an event."""
        return cls(unpack_keys(keys), to_slots(slots))
