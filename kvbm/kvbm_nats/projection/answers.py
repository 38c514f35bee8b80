"""What reads of a projection answer: a frozen struct a row, with names instead of numbers and JSON decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Row, RowMapping, Select, Table, select

from kvbm_events.schema import Runs, TierName
from kvbm_nats.projection.schema import instance, place_of
from kvbm_statemachine import SlotState

_JSON = {"allocated", "pins", "slots", "open", "quarantined"}
S = TypeVar("S", bound=Struct)


class InstanceRow(Struct, frozen=True):
    """An instance after its last applied event, which was stored at `seq` and made at `at_us`."""

    id: int
    name: str
    namespace: str
    epoch: int
    n: int
    seq: int
    at_us: int


class TierRow(Struct, frozen=True):
    """A tier as it was opened, and its slots by state."""

    instance: str
    tier: TierName
    capacity: int
    policy: str
    control: str
    admission: str
    seen_min: int
    priority_min: int
    free: int
    allocated: int
    registered: int
    condemned: int
    quarantined: int


class BlockRow(Struct, frozen=True):
    """A block: its place, its key, its state (`registered` or `condemned`), and the sequence that registered it."""

    instance: str
    tier: TierName
    slot: int
    key: str
    state: str
    seq: int


ARRIVALS = (None, "Registered", "Noted", "OffloadCompleted", "OnboardCompleted")
"""Types of events that register a key; None is a block that came with a snapshot."""


class KeyRow(Struct, frozen=True):
    """An event that names a key, and the place that it is about.

    :ivar seq: of the event in the log; of the snapshot, for a block that came with one
    :ivar type: `Registered`, `Noted`, or `…Started`, `…Completed`, `…Failed` of a transfer that brings it; None with a snapshot
    :ivar gone_seq: the first event after it that took the slot's block away, or the tier's; None while none did
    """

    key: str
    seq: int
    type: str | None
    instance: str
    tier: TierName
    slot: int
    gone_seq: int | None

    @property
    def is_arrival(self) -> bool:
        """Whether the key could be matched there from this event on."""
        return self.type in ARRIVALS

    def has_at(self, seq: int) -> bool:
        """Whether the key could be matched there after the entry at `seq`, by this arrival."""
        return self.is_arrival and self.seq <= seq and (self.gone_seq is None or self.gone_seq > seq)


class StayRow(Struct, frozen=True):
    """A key's stay in a slot: from the event that brought it to the one that ended it, None while it is there."""

    instance: str
    tier: TierName
    slot: int
    from_seq: int
    to_seq: int | None


class RequestRow(Struct, frozen=True):
    """An open request: by tier, the runs of slots that it fills and the slots that it holds, each with all before it."""

    instance: str
    name: str
    priority: int
    allocated: dict[TierName, Runs]
    pins: dict[TierName, list[int]]


class TransferRow(Struct, frozen=True):
    """An open transfer; its keys are in the event that started it, which `id` names as `<epoch>.<n>`."""

    instance: str
    id: str
    kind: str
    source: TierName
    tier: TierName
    request: str
    priority: int
    deadline_us: int
    slots: Runs
    open: Runs
    quarantined: Runs


class JournalRow(Struct, frozen=True):
    """An entry of the log. `applied_seq` is None where no reader may apply it, or it waits for an earlier one.

    :ivar blocks: slots that the event names; found blocks of a look-up
    :ivar seen: of an eviction where the tier below takes blocks by it: how often each had been seen, a byte a block
    :ivar body: the event as JSON
    """

    seq: int
    instance: str
    applied_seq: int | None
    epoch: int
    n: int
    at_us: int
    type: str
    tier: TierName | None
    request: str | None
    transfer: str | None
    blocks: int
    reason: str | None
    seen: bytes | None
    body: str


class BranchRow(Struct, frozen=True):
    """An event that registered blocks right behind `parent`, or at a prompt's start, where that is empty."""

    parent: str
    seq: int
    instance: str
    request: str


def select_of(table: Table, name: str | None, *, without: str = "") -> Select[Any]:
    """The rows of one instance or of all, with its name instead of its number."""
    columns: list[ColumnElement[Any]] = [instance.c.name.label("instance")]
    columns += [column for column in table.columns if column.name not in {"instance_id", without}]
    wanted = select(*columns).join(instance, instance.c.id == table.c.instance_id)
    return wanted if name is None else wanted.where(instance.c.name == name)


def to_struct(kind: type[S], row: RowMapping) -> S:
    """A row as a struct."""
    values = {
        str(name): msgspec.json.decode(value) if name in _JSON and isinstance(value, str) else value
        for name, value in row.items()
    }
    return msgspec.convert(values, kind)


def to_block(row: Row[Any], names: Mapping[int, str]) -> BlockRow:
    """A row of `block` as a struct."""
    instance_id, tier, slot = place_of(row.id)
    return BlockRow(names[instance_id], tier, slot, row.key.hex(), SlotState(row.state).name.lower(), row.seq)
