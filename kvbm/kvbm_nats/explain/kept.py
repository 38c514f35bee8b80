"""What capacity would have kept a block that a tier evicted for want of room, until it was asked for.

Each slot more would have put one eviction off. A block goes in its turn, so to keep it until a look-up takes a slot for
itself and one for every block that left after it and was not back by then. That is its reuse distance, read from what the
tier did; exact for policies in which a larger tier keeps what a smaller one does (the LRUs), near it for the others.
"""

from __future__ import annotations

from kvbm_events.schema import Evicted, unpack_keys
from kvbm_nats.explain.cause import Finding
from kvbm_nats.explain.known import Known
from kvbm_nats.explain.look_up import LookUp, Told
from kvbm_nats.projection import JOURNAL_LIMIT, Projection

EVICTIONS_MAX = 100_000
"""Evictions between a block's own and the look-up that are read; a block that is asked for later gets no figure."""


async def capacity_to_keep(
    projection: Projection, known: Known, look_up: LookUp, finding: Finding
) -> tuple[int, int] | None:
    """The tier's capacity, and the one that would have kept the block; None where the question has no answer.

    It has none where the block was not evicted for room, or its tier was opened anew since.
    """
    told = finding.told
    if not told or not isinstance(told.event, Evicted) or told.event.reason != "capacity" or not finding.row:
        return None
    opened = known.opened(look_up.instance, told.row.seq)
    if opened is None or opened is not known.opened(look_up.instance, look_up.seq):
        return None
    (capacity,) = [spec.capacity for spec in opened.tiers if spec.tier == told.event.tier]
    keys = unpack_keys(told.event.keys)
    left = set(keys[keys.index(finding.row.key) + 1 :])
    after, read = told.row.seq, 0
    while after < look_up.seq:
        rows = await projection.journal(
            look_up.instance, types=["Evicted"], after=after, until=look_up.seq, limit=JOURNAL_LIMIT
        )
        for event in [Told.of(row).event for row in rows if row.tier == told.event.tier]:
            if isinstance(event, Evicted):
                left.update(unpack_keys(event.keys))
        read += len(rows)
        if read >= EVICTIONS_MAX:
            return None
        if len(rows) < JOURNAL_LIMIT:
            break
        after = rows[-1].seq
    state = await projection.state(look_up.instance, look_up.seq)
    left.difference_update(state.tiers[told.event.tier].lineage.index)
    return capacity, capacity + 1 + len(left)
