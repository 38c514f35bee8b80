"""Noted: slots stand for blocks that another instance has written."""

from __future__ import annotations

from kvbm_events.schema import KEY_DIGITS, Noted, are_checksums, total, unpack_checksums
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.effects.blocks import check_keys_fit
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier


def noted(state: State, event: Noted, columns: Columns | None = None) -> None:
    """Free slots get the keys and checksums that another instance's log told; nobody holds them yet."""
    tier = state.tier(event.tier)
    count = total(event.slots)
    if not event.writer or len(event.keys) != KEY_DIGITS * count or not are_known(event.checksums, count):
        raise IllegalTransition(
            f"Noted in {event.tier}", why="it has not a writer, and a key and a checksum for each block"
        )
    tier.slots.check(Step.NOTED, event.slots)
    columns = columns or Columns.of(event.keys, event.slots)
    keys, slots = columns.keys, columns.slots
    check_note(state, tier, event.parent, keys)
    chain = tier.add(Step.NOTED, event.parent, keys, slots, event.slots)
    tier.checksums.put(slots, event.checksums)
    tier.writers.update(dict.fromkeys(slots, event.writer))
    tier.policy.registered(chain, len(keys))


def check_note(state: State, tier: Tier, parent: str, keys: list[str]) -> None:
    """Whether blocks with these keys may be noted in a tier.

    Raises:
        IllegalTransition: an engine decides there, or a key is there already, or on its way, or would be its own ancestor.
    """
    if tier.observed:
        raise IllegalTransition(f"a note in {tier.name}", why="an engine decides there")
    check_keys_fit(tier, [parent, *keys], keys, [*range(len(keys))], [])
    if not state.incoming[tier.name].isdisjoint(keys):
        raise IllegalTransition(f"a note in {tier.name}", why="one of its keys is on its way there")


def are_known(checksums: str, count: int) -> bool:
    """Whether there is one for each of `count` blocks, and none is unknown: what is not proven is not read elsewhere."""
    return are_checksums(checksums, count) and all(unpack_checksums(checksums, count))
