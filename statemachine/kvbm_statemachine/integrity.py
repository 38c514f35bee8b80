"""check_integrity: what must be true of a state after every event, counted again from nothing.

Tests call it after each step, an owner when it is idle. It returns what is wrong in words; an empty list is health.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kvbm_events.schema import total
from kvbm_statemachine.lineage import NO_SLOT, Chain
from kvbm_statemachine.state import State
from kvbm_statemachine.table import SlotState
from kvbm_statemachine.tier import Tier


def check_integrity(state: State) -> list[str]:
    """Everything that is wrong with the state, a sentence each."""
    return [flaw for tier in state.tiers.values() for flaw in _tier_flaws(state, tier)] + list(_ends_missing(state))


def _tier_flaws(state: State, tier: Tier) -> Iterator[str]:
    counts = tier.counts()
    if sum(counts.values()) != tier.spec.capacity or counts["free"] != tier.slots.free:
        yield f"{tier.name}: {counts} do not make {tier.spec.capacity} slots with {tier.slots.free} free"
    yield from _allocation_flaws(state, tier, counts)
    yield from _lineage_flaws(tier)
    yield from _checksum_flaws(tier)
    yield from _pin_flaws(state, tier)


def _allocation_flaws(state: State, tier: Tier, counts: dict[str, int]) -> Iterator[str]:
    by_requests = sum(total(request.allocated.get(tier.name, [])) for request in state.requests.values())
    arriving = [transfer for transfer in state.transfers.values() if transfer.tier == tier.name]
    by_transfers = sum(len(transfer.open) for transfer in arriving)
    if by_requests + by_transfers != counts["allocated"]:
        yield f"{tier.name}: {counts['allocated']} allocated, but {by_requests} by requests and {by_transfers} by transfers"
    quarantined = sum(len(transfer.quarantined) for transfer in arriving)
    if quarantined != counts["quarantined"]:
        yield f"{tier.name}: {counts['quarantined']} quarantined, but transfers know {quarantined}"
    keys = {transfer.keys[at] for transfer in arriving for at in transfer.open.values()}
    if keys != state.incoming[tier.name]:
        yield f"{tier.name}: keys on their way differ from those of its transfers"


def _checksum_flaws(tier: Tier) -> Iterator[str]:
    states = tier.slots.states
    for slot in tier.checksums.known():
        if states[slot] not in {SlotState.REGISTERED, SlotState.CONDEMNED}:
            yield f"{tier.name}: slot {slot} has a checksum and no block"
    for slot, writer in tier.writers.items():
        if states[slot] not in {SlotState.REGISTERED, SlotState.CONDEMNED} or not writer:
            yield f"{tier.name}: slot {slot} has a writer, {writer!r}, and no block"


def _lineage_flaws(tier: Tier) -> Iterator[str]:
    lineage, states = tier.lineage, tier.slots.states
    blocks = Counter[SlotState]()
    for chain in lineage.chains.values():
        expected = SlotState.CONDEMNED if chain.condemned else SlotState.REGISTERED
        blocks[expected] += len(chain.slots)
        if not chain.slots or len(chain.slots) != len(chain.keys):
            yield f"{tier.name}: chain {chain.id} has {len(chain.slots)} slots and {len(chain.keys)} keys"
        if chain.condemned and lineage.loose(chain):
            yield f"{tier.name}: chain {chain.id} is condemned, and {lineage.loose(chain)} slots of it are not free yet"
        for at, (key, slot) in enumerate(zip(chain.keys, chain.slots, strict=True)):
            if (
                states[slot] != expected
                or lineage.chain_of(slot) is not chain
                or lineage.position(slot) != chain.base + at
            ):
                yield f"{tier.name}: slot {slot} is not what chain {chain.id} says"
            if not chain.condemned and lineage.index.get(key) != slot:
                yield f"{tier.name}: key {key} is not indexed to slot {slot}"
        yield from _parent_flaws(tier, chain)
    if len(lineage.index) != blocks[SlotState.REGISTERED] or blocks[SlotState.REGISTERED] != states.count(
        SlotState.REGISTERED
    ):
        yield f"{tier.name}: {len(lineage.index)} keys indexed, {states.count(SlotState.REGISTERED)} slots registered"
    if blocks[SlotState.CONDEMNED] != states.count(SlotState.CONDEMNED):
        yield f"{tier.name}: condemned slots without a chain"


def _parent_flaws(tier: Tier, chain: Chain) -> Iterator[str]:
    lineage = tier.lineage
    if chain.parent_slot == NO_SLOT:
        if chain.parent_key and not chain.condemned and chain.parent_key in lineage.index:
            yield f"{tier.name}: chain {chain.id} is an orphan though its parent {chain.parent_key} is here"
    elif lineage.key_of(chain.parent_slot) != chain.parent_key or chain not in lineage.children(chain.parent_slot):
        yield f"{tier.name}: chain {chain.id} does not hang on its parent"


def _pin_flaws(state: State, tier: Tier) -> Iterator[str]:
    wanted = Counter[int]()
    for request in state.requests.values():
        wanted.update(request.pins.get(tier.name, ()))
    for transfer in state.transfers.values():
        if transfer.source == tier.name and transfer.has_source:
            wanted[transfer.source_slot] += 1
    chains = tier.lineage.chains.values()
    wanted.update(chain.parent_slot for chain in chains if chain.parent_slot != NO_SLOT)
    pinned = {slot: pins for chain in chains for slot, pins in chain.pins.items()}
    if pinned != dict(wanted):
        odd = {
            slot: (pinned.get(slot, 0), wanted[slot])
            for slot in pinned.keys() | wanted
            if pinned.get(slot, 0) != wanted[slot]
        }
        yield f"{tier.name}: pins (there, wanted) by slot: {odd}"


def _ends_missing(state: State) -> Iterator[str]:
    for transfer in state.transfers.values():
        if transfer.is_over or transfer.tier not in state.tiers:
            yield f"transfer {transfer.id} is over, or has no destination, and is still open"
        if transfer.has_source and transfer.source not in state.tiers:
            yield f"transfer {transfer.id} has no source"
