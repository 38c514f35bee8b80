"""…Started, …Completed, …Failed: how blocks get from tier to tier."""

from __future__ import annotations

from kvbm_events.schema import (
    OnboardStarted,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
    are_checksums,
    to_runs,
    to_slots,
    total,
    unpack_keys,
)
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.effects.blocks import add_around, check_keys_fit, hold
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer


def started(state: State, event: TransferStarted, _columns: Columns | None = None) -> None:
    """Free slots of the destination are reserved; the source blocks are pinned."""
    source, tier = state.tier(event.source), state.tier(event.tier)
    if event.transfer != f"{event.epoch}.{event.n}":
        raise IllegalTransition(f"transfer {event.transfer!r}", why="its id is the epoch and number of its first event")
    source.slots.check(Step.MATCHED, event.source_slots)
    tier.slots.check(Step.RESERVED, event.slots)
    keys, slots = unpack_keys(event.keys), to_slots(event.source_slots)
    if flaw := _why_not(state, source, tier, event, keys, slots):
        raise IllegalTransition(f"transfer {event.transfer} from {event.source} to {event.tier}", why=flaw)
    tier.slots.move(Step.RESERVED, event.slots)
    source.pin(slots[-1])
    state.transfers[event.transfer] = Transfer("onboard" if isinstance(event, OnboardStarted) else "offload", event)
    state.incoming[event.tier].update(keys)


def _why_not(state: State, source: Tier, tier: Tier, event: TransferStarted, keys: list[str], slots: list[int]) -> str:
    if source is tier:
        return "a transfer goes to another tier"
    if flaw := _source_flaw(source, event, keys, slots):
        return flaw
    if len(to_slots(event.slots)) != len(keys):
        return "it has not one destination slot for each key"
    if not state.incoming[event.tier].isdisjoint(keys):
        return "one of its keys is under way there already"
    return ""


def _source_flaw(source: Tier, event: TransferStarted, keys: list[str], slots: list[int]) -> str:
    if not keys or list(map(source.lineage.index.get, keys)) != slots or not source.lineage.is_path(slots):
        return "its source slots do not hold its keys, each the parent of the next"
    if source.lineage.parent_of(slots[0]) != event.parent:
        return "its first block has another parent"
    if event.writer != source.writer_of(slots):
        return "its source blocks have another writer, or several"
    if event.checksums and event.checksums != source.checksums.of(slots):
        return "its checksums are not those with which its source blocks came"
    return ""


def completed(state: State, event: TransferCompleted, _columns: Columns | None = None) -> None:
    """Destination slots are registered; the request that waits for an onboard holds them."""
    transfer, tier = _transfer(state, event), state.tier(event.tier)
    positions, slots = transfer.positions(event.slots), to_slots(event.slots)
    keys, existing = [transfer.keys[at] for at in positions], dict(event.existing)
    tier.slots.check(Step.ARRIVED, event.slots)
    if not are_checksums(event.checksums, len(slots)):
        raise IllegalTransition(f"{type(event).__name__} of {transfer.id}", why="it has not a checksum for each block")
    check_keys_fit(tier, [transfer.parent_at(at) for at in positions], keys, slots, event.existing)
    request = state.requests.get(transfer.request) if transfer.kind == "onboard" else None
    start = 0
    for end in range(1, len(keys) + 1):
        if end < len(keys) and positions[end] == positions[end - 1] + 1:
            continue
        known = [(at - start, existing[at]) for at in range(start, end) if at in existing]
        parent = transfer.parent_at(positions[start])
        add_around(tier, Step.ARRIVED, parent, keys[start:end], slots[start:end], known)
        if request:
            hold(tier, request, parent, existing.get(end - 1, slots[end - 1]))
        start = end
    if event.checksums:
        tier.checksums.put(slots, event.checksums)
        tier.checksums.clear([(slots[at], 1) for at in existing])
    _resolve(state, transfer, slots)


def failed(state: State, event: TransferFailed, _columns: Columns | None = None) -> None:
    """Destination slots are free if the mover is known to have stopped, else quarantined until it is."""
    transfer, tier = _transfer(state, event), state.tier(event.tier)
    slots = to_slots(event.slots)
    if not event.stopped:
        transfer.positions(event.slots)
        tier.slots.check(Step.DOUBTFUL, event.slots)
        tier.slots.move(Step.DOUBTFUL, event.slots)
        transfer.quarantined.update(slots)
    else:
        cleared = to_runs([slot for slot in slots if slot in transfer.quarantined])
        running = to_runs([slot for slot in slots if slot not in transfer.quarantined])
        transfer.positions(running)
        tier.slots.check(Step.CLEARED, cleared)
        tier.slots.check(Step.FAILED, running)
        tier.slots.move(Step.CLEARED, cleared)
        tier.slots.move(Step.FAILED, running)
        transfer.quarantined.difference_update(slots)
    _resolve(state, transfer, slots)


def _transfer(state: State, event: TransferCompleted | TransferFailed) -> Transfer:
    transfer = state.transfer(event.transfer)
    if not type(event).__name__.lower().startswith(transfer.kind):
        raise IllegalTransition(f"{type(event).__name__} of {transfer.id}", why=f"it is an {transfer.kind}")
    if event.tier != transfer.tier:
        raise IllegalTransition(f"{type(event).__name__} of {transfer.id}", why=f"it goes to {transfer.tier}")
    blocks = len(transfer.slots)
    is_bounded = all(first >= 0 and 0 < count <= blocks for first, count in event.slots)
    if not event.slots or not is_bounded or len(set(to_slots(event.slots))) != total(event.slots):
        raise IllegalTransition(f"{type(event).__name__} of {transfer.id}", why="it names no slot, or one twice")
    return transfer


def _resolve(state: State, transfer: Transfer, slots: list[int]) -> None:
    """Strike these slots off; when none is under way, let the source go, and let the request let it go too.

    What is quarantined needs no source: a mover that still reads it writes where nothing will ever be found.
    """
    for slot in slots:
        at = transfer.open.pop(slot, None)
        if at is not None:
            state.incoming[transfer.tier].discard(transfer.keys[at])
    if transfer.is_over:
        del state.transfers[transfer.id]
    if transfer.open or not transfer.has_source:
        return
    source = state.tiers[transfer.source]
    source.unpin(transfer.source_slot)
    request = state.requests.get(transfer.request)
    if request and transfer.kind == "onboard":
        pins = request.pins.get(transfer.source, [])
        if transfer.source_slot in pins:
            pins.remove(transfer.source_slot)
            source.unpin(transfer.source_slot)
    transfer.forget_source()
