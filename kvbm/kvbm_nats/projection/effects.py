"""What an event does to the tables, told by the event and by the state after `evolve` took it.

Rules
1. `evolve` comes first: an event that it refuses has changed no row.
2. Every slot that gets or loses a block is named by an event, but for two: a tier that a new epoch starts empty, and a
   condemned slot, which becomes free when its last holder lets go. The latter are watched.
"""

from __future__ import annotations

from kvbm_events.schema import (
    AnyEvent,
    Evicted,
    Noted,
    Opened,
    Registered,
    TierName,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
    to_runs,
    to_slots,
)
from kvbm_nats.projection.changes import Changes, Context, Range
from kvbm_nats.projection.pieces import Named, pieces_of_runs, pieces_of_slots
from kvbm_nats.projection.rows import Followed
from kvbm_nats.projection.schema import DEPARTURE_SIZE, SLOTS_MAX, block_id
from kvbm_statemachine import SlotState, State, evolve
from kvbm_statemachine.transfers import Transfer


def apply_event(here: Followed, seq: int, event: AnyEvent, changes: Changes) -> Context:
    """Evolve the instance's state by its next event and note what that changed. `seq` is the event's own entry.

    Returns what the journal's row of the event says beside the event.

    Raises:
        IllegalTransition: the event is not legal here; neither the state nor `changes` was touched.
    """
    if isinstance(event, Opened):
        _open(here, seq, event, changes)
        return Context()
    transfer = here.state.transfers.get(getattr(event, "transfer", ""))
    evolve(here.state, event)
    match event:
        case Evicted():
            _evicted(here, seq, event, changes)
        case Registered():
            _arrived(here, seq, event, event.keys, changes)
        case Noted():
            changes.put(
                Named(seq, pieces_of_runs(block_id(here.id, event.tier, 0), event.slots), bytes.fromhex(event.keys))
            )
        case TransferStarted():
            changes.keys.append(_named(here, seq, event, event.keys))
        case TransferCompleted() if transfer:
            _arrived(here, seq, event, _keys_of(transfer, event), changes)
        case TransferFailed() if transfer:
            changes.keys.append(_named(here, seq, event, _keys_of(transfer, event)))
        case _:
            pass
    if here.condemned:
        _sweep(here, changes)
    _touch(here, event, transfer, changes)
    return _context(here.state, event, transfer)


def _context(state: State, event: AnyEvent, transfer: Transfer | None) -> Context:
    """What the state adds to an event that it took last: a slot keeps its count until another block comes."""
    seen: bytes | None = None
    if isinstance(event, Evicted) and event.tier in state.selecting:
        counts = state.tiers[event.tier].seen
        seen = b"".join([counts[first : first + count] for first, count in event.slots])
    return Context((transfer.request or None) if transfer else None, seen)


def _touch(here: Followed, event: AnyEvent, transfer: Transfer | None, changes: Changes) -> None:
    changes.touched.add(here.name)
    request = transfer.request if transfer else getattr(event, "request", "")
    if request:
        changes.touched_requests.add((here.name, request))
    if isinstance(event, TransferStarted | TransferCompleted | TransferFailed):
        changes.touched_transfers.add((here.name, event.transfer))


def _named(here: Followed, seq: int, event: TransferStarted | TransferFailed, keys: str) -> Named:
    return Named(seq, pieces_of_runs(block_id(here.id, event.tier, 0), event.slots), bytes.fromhex(keys))


def _keys_of(transfer: Transfer, event: TransferCompleted | TransferFailed) -> str:
    """The keys of the transfer's blocks that the event is about, in the order of its slots."""
    slots = to_slots(event.slots)
    if slots == transfer.slots:
        return "".join(transfer.keys)
    key_at = dict(zip(transfer.slots, transfer.keys, strict=True))
    return "".join([key_at[slot] for slot in slots])


def _arrived(here: Followed, seq: int, event: Registered | TransferCompleted, keys: str, changes: Changes) -> None:
    """Blocks are registered, but for those whose key was registered before."""
    base, packed = block_id(here.id, event.tier, 0), bytes.fromhex(keys)
    if not event.existing:
        changes.put(Named(seq, pieces_of_runs(base, event.slots), packed))
        return
    slots, existing = to_slots(event.slots), dict(event.existing)
    fresh = [at for at in range(len(slots)) if at not in existing]
    changes.put(Named(seq, pieces_of_slots(base, slots, fresh), packed))


def _evicted(here: Followed, seq: int, event: Evicted, changes: Changes) -> None:
    base, states = block_id(here.id, event.tier, 0), here.state.tiers[event.tier].slots.states
    for first, count in event.slots:
        _depart(base + first, count, seq, changes)
    ends = [(first, first + count) for first, count in event.slots]
    if not any(states.count(SlotState.CONDEMNED, first, end) for first, end in ends):
        changes.drop([(base + first, base + end - 1) for first, end in ends])
        return
    slots = to_slots(event.slots)
    condemned = [slot for slot in slots if states[slot] == SlotState.CONDEMNED]
    changes.condemn(_ranges(base, condemned))
    changes.drop(_ranges(base, [slot for slot in slots if states[slot] != SlotState.CONDEMNED]))
    here.condemned.setdefault(event.tier, set()).update(condemned)


def _depart(first: int, count: int, seq: int, changes: Changes) -> None:
    """Note that neighbours lost their keys, in pieces that end at multiples of `DEPARTURE_SIZE`."""
    end = first + count
    while first < end:
        stop = min(end, first - first % DEPARTURE_SIZE + DEPARTURE_SIZE)
        changes.departures.append((first, seq, stop - first))
        first = stop


def _open(here: Followed, seq: int, event: Opened, changes: Changes) -> None:
    """A new epoch: any request and transfer may be over, and a tier that is not kept is empty."""
    state = here.state
    reset: list[TierName] = [tier for tier in state.tiers if tier not in event.kept]
    requests, transfers = list(state.requests), list(state.transfers)
    evolve(state, event)
    changes.departures += [(block_id(here.id, tier, 0), seq, SLOTS_MAX) for tier in reset]
    changes.drop([(block_id(here.id, tier, 0), block_id(here.id, tier, SLOTS_MAX - 1)) for tier in reset])
    for tier in reset:
        here.condemned.pop(tier, None)
    _sweep(here, changes)
    changes.touched.add(here.name)
    changes.reopened.add(here.name)
    changes.touched_requests.update((here.name, name) for name in requests)
    changes.touched_transfers.update((here.name, name) for name in transfers)


def _sweep(here: Followed, changes: Changes) -> None:
    """Drop what was condemned and is free by now."""
    for tier, slots in list(here.condemned.items()):
        states = here.state.tiers[tier].slots.states
        freed = sorted(slot for slot in slots if states[slot] != SlotState.CONDEMNED)
        changes.drop(_ranges(block_id(here.id, tier, 0), freed))
        slots.difference_update(freed)
        if not slots:
            del here.condemned[tier]


def _ranges(base: int, slots: list[int]) -> list[Range]:
    return [(base + first, base + first + count - 1) for first, count in to_runs(slots)]
