"""What capacity would have kept blocks that a tier evicted for want of room, until they were asked for.

Each slot more would have put one eviction off, and blocks go in their turn. So to keep a block until a look-up takes a slot
for itself and one for every block that left after it and was not back by then: its reuse distance, read from what the tier
did. Of several blocks in a row the deepest decides, since it went first. Exact for policies under which a larger tier has
what a smaller one has, as the LRUs; near it for others.
"""

from __future__ import annotations

from kvbm_events.schema import Evicted, TierName, unpack_keys
from kvbm_nats.explain.cause import last_stay
from kvbm_nats.explain.known import Known, Need
from kvbm_nats.explain.look_up import LookUp, Told
from kvbm_nats.explain.loss import Traced
from kvbm_nats.projection import JOURNAL_LIMIT, Projection
from kvbm_statemachine.lineage import Lineage

EVICTIONS_MAX = 100_000
"""Evictions between the blocks' own and the look-up that are read; blocks that are asked for later get no figure."""


async def capacity_to_keep(
    projection: Projection, known: Known, look_up: LookUp, traced: Traced
) -> tuple[int, int] | None:
    """The tier's capacity, and the one that would have kept these blocks; None where the question has no answer.

    It has none where they were not all evicted from one tier for room, or the tier was opened anew since.
    """
    if traced.loss.cause not in {"evicted", "not_admitted"} or not traced.finding or not traced.finding.row:
        return None
    deepest, tier = traced.keys[-1], traced.finding.row.tier
    evicted = await _eviction_of(deepest, known, look_up)
    if evicted is None or evicted.row.tier != tier or evicted.row.reason != "capacity":
        return None
    opened = known.opened(look_up.instance, evicted.row.seq)
    if opened is None or opened is not known.opened(look_up.instance, look_up.seq):
        return None
    (capacity,) = [spec.capacity for spec in opened.tiers if spec.tier == tier]
    before = await projection.state(look_up.instance, evicted.row.seq - 1)
    left = _later_in(evicted, deepest, before.tiers[tier].lineage)
    later = await _left_between(projection, look_up, tier, evicted.row.seq)
    if later is None:
        return None
    now = await projection.state(look_up.instance, look_up.seq)
    return capacity, capacity + 1 + len((left | later).difference(now.tiers[tier].lineage.index))


async def _eviction_of(key: str, known: Known, look_up: LookUp) -> Told | None:
    """The event that took the key out of its last tier before the look-up."""
    await known.load([Need(keys=[key])])
    row = last_stay(known.rows(key, look_up.instance), look_up.seq)
    if row is None or row.gone_seq is None:
        return None
    await known.load([Need(events=[row.gone_seq])])
    told = known.event(row.gone_seq)
    return told if told and isinstance(told.event, Evicted) else None


def _later_in(evicted: Told, key: str, lineage: Lineage) -> set[str]:
    """Of one eviction, the blocks that had their turn after this one: its ancestors, and what is named after its children.

    `lineage` is the tier's before the eviction. An event names a prefix from its start, and it goes from its end.
    """
    keys = unpack_keys(getattr(evicted.event, "keys", ""))
    own = lineage.index[key]
    ancestors = {each for chain, size in lineage.path(own) for each in chain.keys[:size]}
    following = keys[keys.index(key) + 1 :]
    return (ancestors.intersection(keys) | {each for each in following if not _stands_on(lineage, each, own)}) - {key}


def _stands_on(lineage: Lineage, key: str, slot: int) -> bool:
    """Whether a block is a descendant of the one in a slot."""
    chain, position = lineage.chain_of(slot), lineage.position(slot)
    return any(each is chain and each.base + size > position for each, size in lineage.path(lineage.index[key]))


async def _left_between(projection: Projection, look_up: LookUp, tier: TierName, after: int) -> set[str] | None:
    """The keys that were evicted from the tier between an event and the look-up; None where those are too many."""
    left: set[str] = set()
    read = 0
    while read < EVICTIONS_MAX:
        rows = await projection.journal(
            look_up.instance, types=["Evicted"], after=after, until=look_up.seq, limit=JOURNAL_LIMIT
        )
        for event in [Told.of(row).event for row in rows if row.tier == tier]:
            left.update(unpack_keys(getattr(event, "keys", "")))
        read += len(rows)
        if len(rows) < JOURNAL_LIMIT:
            return left
        after = rows[-1].seq
    return None
