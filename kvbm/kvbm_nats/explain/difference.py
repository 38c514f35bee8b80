"""difference: what came and went in each tier between two contents of an instance."""

from __future__ import annotations

from contextlib import suppress

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.explain.answers import Difference, Slots, TierDifference
from kvbm_nats.explain.contents import Contents, contents_at, tiers_of
from kvbm_nats.projection import Projection

KEYS_MAX = 1000
"""Keys that a list names; how many there are is said all the same."""


async def differences_between(
    projection: Projection, first: int, second: int, instance: str | None = None
) -> list[Difference]:
    """What differs between two sequences, of one instance or of all that had begun by one of them, by name."""
    names = [row.name for row in await projection.instances() if instance in {None, row.name}]
    both = [(await _at(projection, name, first), await _at(projection, name, second)) for name in names]
    return [difference(before, after) for before, after in both if before or after]


async def _at(projection: Projection, name: str, seq: int) -> Contents | None:
    with suppress(InvalidCommand):  # it began later
        return await contents_at(projection, name, seq)
    return None


def difference(before: Contents | None, after: Contents | None, *, keys_max: int = KEYS_MAX) -> Difference:
    """What is in `after` and not in `before`, and the other way round. One of them may not be there at all."""
    some = after or before
    if some is None:
        raise ValueError("there is nothing on either side")
    opened, over = (set(each.requests if each else ()) for each in (after, before))
    return Difference(
        instance=some.instance,
        before=f"{before.epoch}.{before.n}" if before else "",
        after=f"{after.epoch}.{after.n}" if after else "",
        tiers=[_tier(tier, before, after, keys_max) for tier in tiers_of(before, after)],
        requests_opened=sorted(opened - over),
        requests_over=sorted(over - opened),
        transfers_begun=_without(after, before),
        transfers_over=_without(before, after),
        is_equal=_body(before) == _body(after),
    )


def _tier(tier: TierName, before: Contents | None, after: Contents | None, keys_max: int) -> TierDifference:
    old, new = (each.blocks.get(tier, {}) if each else {} for each in (before, after))
    arrived, left = new.keys() - old.keys(), old.keys() - new.keys()
    moved = sum(old[key] != slot for key, slot in new.items() if key in old)
    return TierDifference(
        tier=tier,
        before=_slots(before, tier),
        after=_slots(after, tier),
        arrived=len(arrived),
        left=len(left),
        stayed=len(new) - len(arrived),
        moved=moved,
        arrived_keys=sorted(arrived)[:keys_max],
        left_keys=sorted(left)[:keys_max],
    )


def _slots(contents: Contents | None, tier: TierName) -> Slots | None:
    return contents.slots.get(tier) if contents else None


def _without(some: Contents | None, others: Contents | None) -> list[str]:
    known = set(others.transfers) if others else set[str]()
    return [each for each in some.transfers if each not in known] if some else []


def _body(contents: Contents | None) -> object:
    """What makes two contents equal: what is where, and not how far their logs are."""
    if contents is None:
        return None
    return contents.namespace, contents.slots, contents.blocks, contents.requests, contents.transfers
