"""Snapshots in a projection, and the state at any moment from them: the nearest one before it, and the journal from there.

The log's own snapshots serve its owners, who start from the newest; here all are kept, and they lie close to each other.
"""

from __future__ import annotations

from zlib import compress, decompress

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kvbm_events.log import Entry
from kvbm_events.schema.errors import InvalidCommand
from kvbm_events.sequencer import Sequencer
from kvbm_events.subjects import ALL_TIERS, PREFIX
from kvbm_nats.projection.changes import Row
from kvbm_nats.projection.rows import Followed
from kvbm_nats.projection.schema import instance, journal, snapshot
from kvbm_statemachine import State, evolve, from_bytes, to_bytes

EVENT_WEIGHT = 16
"""Folding an event costs about as much as folding so many of the blocks in it, 2 µs each."""
WEIGHT_MIN = 65_536
"""What is folded between two snapshots at least: about an eighth of a second."""
WEIGHT_PER_BLOCK = 2
"""And for each block of the state: a snapshot is as large as its state, and should be less than what it saves."""

ROWS_AT_ONCE = 512


def is_due(here: Followed) -> bool:
    """Whether so much was folded since an instance's last snapshot that one is worth its bytes.

    Not while events wait for their turn: the journal from here would not have them.
    """
    if here.weight < WEIGHT_MIN or here.early:
        return False
    return here.weight >= WEIGHT_PER_BLOCK * sum(len(tier.lineage.index) for tier in here.state.tiers.values())


def snapshot_row(here: Followed) -> Row:
    """A row of `snapshot`."""
    return here.id, here.seq, compress(to_bytes(here.state), 1)


async def read_weight(connection: AsyncConnection, instance_id: int) -> int:
    """What was folded since the instance's last snapshot."""
    last = select(func.coalesce(func.max(snapshot.c.seq), 0)).where(snapshot.c.instance_id == instance_id)
    since = and_(journal.c.instance_id == instance_id, journal.c.seq > last.scalar_subquery())
    weight = select(func.coalesce(func.sum(journal.c.blocks + EVENT_WEIGHT), 0)).where(since)
    return int(await connection.scalar(weight) or 0)


async def read_state(connection: AsyncConnection, name: str, until: int) -> State:
    """The instance's state after all its entries up to and with `until`.

    Raises:
        InvalidCommand: the projection has nothing of the instance up to there.
    """
    own = select(instance.c.id).where(instance.c.name == name).scalar_subquery()
    nearest = (
        select(snapshot.c.seq, snapshot.c.state)
        .where(snapshot.c.instance_id == own, snapshot.c.seq <= until)
        .order_by(snapshot.c.seq.desc())
        .limit(1)
    )
    found = (await connection.execute(nearest)).one_or_none()
    state = from_bytes(decompress(found.state)) if found else State()
    columns = journal.c
    rest = (
        select(columns.seq, columns.body)
        .where(columns.instance_id == own, columns.seq > (found.seq if found else 0), columns.seq <= until)
        .order_by(columns.seq)
    )
    sequencer = Sequencer()
    if state.epoch:
        sequencer.resume(name, state.epoch, state.n)
    async with connection.stream(rest) as result:
        async for rows in result.partitions(ROWS_AT_ONCE):
            for seq, body in rows:
                for ordered in sequencer.feed(Entry(seq, f"{PREFIX}.{name}.{ALL_TIERS}.journal", body.encode())):
                    evolve(state, ordered.event)
    if not state.epoch:
        raise InvalidCommand(
            f"the projection has nothing of instance {name!r} up to sequence {until:,}",
            why="it begins later, or there is no such instance",
            hint="ask for a later moment; `kvbm state` lists the instances",
        )
    return state
