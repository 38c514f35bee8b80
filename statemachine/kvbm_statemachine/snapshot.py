"""A state as bytes and back, and the digest that two states are compared by.

The dump is canonical: the same events give the same bytes, and so the same digest, whoever folded them. It holds what
cannot be derived; pins, the index and who is whose child are built again on loading.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from kvbm_events.schema import Runs, TierName, TierSpec, pack_keys, to_runs, to_slots, total, unpack_keys
from kvbm_events.schema.errors import IllegalTransition, KvbmError
from kvbm_statemachine.lineage import Chain
from kvbm_statemachine.requests import Request
from kvbm_statemachine.slots import are_within
from kvbm_statemachine.state import State
from kvbm_statemachine.table import SlotState
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Kind, Transfer

SNAPSHOT_VERSION = 4
"""Goes up whenever a dump's form, or what `evolve` makes of the same events, changes: older dumps are not loaded."""
NOTING_VERSION = 5
"""Of a dump with blocks of other writers: who does not know of those must not load it. Without any it is as it was."""


class ChainDump(Struct, array_like=True):
    """One chain."""

    id: int
    base: int
    parent_key: str
    parent_slot: int
    condemned: bool
    keys: str
    slots: Runs


class TierDump(Struct, omit_defaults=True):
    """One tier."""

    spec: TierSpec
    states: bytes
    seen: bytes
    checksums: bytes
    contents: dict[int, str]
    next_chain: int
    chains: list[ChainDump]
    policy: Any
    writers: dict[int, str] = {}


class RequestDump(Struct, array_like=True):
    """One request."""

    name: str
    priority: int
    allocated: dict[TierName, Runs]
    pins: dict[TierName, list[int]]


class TransferDump(Struct):
    """One transfer."""

    id: str
    kind: Kind
    source: TierName
    tier: TierName
    request: str
    priority: int
    deadline_us: int
    parent: str
    keys: str
    source_slot: int
    source_slots: Runs
    slots: Runs
    open: list[int]
    quarantined: list[int]


class StateDump(Struct):
    """One instance's state."""

    version: int
    epoch: int
    n: int
    namespace: str
    tiers: list[TierDump]
    requests: list[RequestDump]
    transfers: list[TransferDump]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StateDump).decode


def dump(state: State) -> StateDump:
    """The state as plain values."""
    is_noting = any(tier.writers for tier in state.tiers.values())
    return StateDump(
        version=NOTING_VERSION if is_noting else SNAPSHOT_VERSION,
        epoch=state.epoch,
        n=state.n,
        namespace=state.namespace,
        tiers=[_dump_tier(tier) for tier in state.tiers.values()],
        requests=[RequestDump(r.name, r.priority, r.allocated, r.pins) for r in state.requests.values()],
        transfers=[_dump_transfer(transfer) for transfer in state.transfers.values()],
    )


def to_bytes(state: State) -> bytes:
    """The state as msgpack."""
    return _encode(dump(state))


def digest_of(data: bytes) -> str:
    """The digest of a state that `to_bytes` gave: 32 hex digits."""
    return blake2b(data, digest_size=16).hexdigest()


def digest(state: State) -> str:
    """32 hex digits that are equal for equal states."""
    return digest_of(to_bytes(state))


def from_bytes(data: bytes) -> State:
    """The state that `to_bytes` gave. Damage that leaves a state that can be loaded shows in `digest_of` only.

    Raises:
        IllegalTransition: the bytes are damaged, or of another version.
    """
    dumped = dump_of(data)
    try:
        return _load(dumped)
    except (LookupError, TypeError, ValueError, KvbmError) as error:
        raise IllegalTransition("this snapshot is damaged", why=repr(error), hint="replay from the log") from error


def dump_of(data: bytes) -> StateDump:
    """The plain values in what `to_bytes` gave, for who needs a part of them only. Raises as `from_bytes`."""
    try:
        dumped = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IllegalTransition("this snapshot cannot be read", why=str(error), hint="replay from the log") from error
    if dumped.version not in {SNAPSHOT_VERSION, NOTING_VERSION}:
        raise IllegalTransition(
            f"this snapshot is of version {dumped.version}",
            why=f"this program writes version {SNAPSHOT_VERSION} or {NOTING_VERSION}",
            hint="replay from the log, or use the program that wrote it",
        )
    return dumped


def _dump_tier(tier: Tier) -> TierDump:
    return TierDump(
        spec=tier.spec,
        states=bytes(tier.slots.states),
        seen=bytes(tier.seen),
        checksums=bytes(tier.checksums.packed),
        contents=dict(sorted(tier.contents.items())),
        next_chain=tier.lineage.next_id,
        chains=[
            ChainDump(c.id, c.base, c.parent_key, c.parent_slot, c.condemned, pack_keys(c.keys), to_runs(c.slots))
            for c in tier.lineage.chains.values()
        ],
        policy=tier.policy.dump(),
        writers=dict(sorted(tier.writers.items())),
    )


def _dump_transfer(transfer: Transfer) -> TransferDump:
    return TransferDump(
        id=transfer.id,
        kind=transfer.kind,
        source=transfer.source,
        tier=transfer.tier,
        request=transfer.request,
        priority=transfer.priority,
        deadline_us=transfer.deadline_us,
        parent=transfer.parent,
        keys=pack_keys(transfer.keys),
        source_slot=transfer.source_slot,
        source_slots=transfer.source_slots,
        slots=to_runs(transfer.slots),
        open=list(transfer.open),
        quarantined=sorted(transfer.quarantined),
    )


def _load(dumped: StateDump) -> State:
    state = State()
    state.epoch, state.n, state.namespace = dumped.epoch, dumped.n, dumped.namespace
    state.transfers = {part.id: _load_transfer(part) for part in dumped.transfers}
    state.set_tiers({tier.spec.tier: _load_tier(tier) for tier in dumped.tiers})
    for part in dumped.requests:
        request = state.requests[part.name] = Request(part.name, part.priority)
        request.allocated, request.pins = part.allocated, part.pins
        for name, slots in part.pins.items():
            for slot in slots:
                state.tiers[name].lineage.pin(slot)
    for transfer in state.transfers.values():
        if transfer.has_source:
            state.tiers[transfer.source].pin(transfer.source_slot)
    for tier in state.tiers.values():
        for chain in tier.lineage.chains.values():
            tier.policy.loosened(chain)
    return state


def _load_tier(dumped: TierDump) -> Tier:
    if not len(dumped.states) == len(dumped.seen) == dumped.spec.capacity:
        raise ValueError(f"{dumped.spec.tier} has not {dumped.spec.capacity} slots")
    if dumped.states.translate(None, bytes(SlotState)):
        raise ValueError(f"{dumped.spec.tier} has a slot in no state")
    tier = Tier(dumped.spec)
    tier.slots.restore(dumped.states)
    tier.seen[:] = dumped.seen
    tier.checksums.restore(dumped.checksums)
    tier.contents, tier.writers = dumped.contents, dumped.writers
    for part in dumped.chains:
        if not are_within(part.slots, dumped.spec.capacity):
            raise ValueError(f"chain {part.id} has slots that {tier.name} has not")
        keys, slots = unpack_keys(part.keys), to_slots(part.slots)
        chain = Chain(part.id, part.base, part.parent_key, part.parent_slot, keys, slots, {}, part.condemned)
        tier.lineage.restore(chain)
    tier.lineage.relink(dumped.next_chain)
    tier.policy.load(dumped.policy)
    return tier


def _load_transfer(dumped: TransferDump) -> Transfer:
    transfer = Transfer.__new__(Transfer)
    transfer.id, transfer.kind, transfer.source, transfer.tier = dumped.id, dumped.kind, dumped.source, dumped.tier
    transfer.request, transfer.priority, transfer.deadline_us = dumped.request, dumped.priority, dumped.deadline_us
    transfer.parent, transfer.source_slot, transfer.source_slots = (
        dumped.parent,
        dumped.source_slot,
        dumped.source_slots,
    )
    transfer.keys = unpack_keys(dumped.keys)
    if total(dumped.slots) != len(transfer.keys) or any(count < 1 for _, count in dumped.slots):
        raise ValueError(f"transfer {dumped.id} has not a slot for each key")
    transfer.slots = to_slots(dumped.slots)
    positions = {slot: at for at, slot in enumerate(transfer.slots)}
    transfer.open = {slot: positions[slot] for slot in dumped.open}
    transfer.quarantined = set(dumped.quarantined)
    return transfer
