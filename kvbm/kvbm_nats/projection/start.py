"""Where a projector begins: at the checkpoint, or with an empty generation at the beginning of what the log still has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import structlog
from sqlalchemy import select

from kvbm_events.log import Entry, Log, Position, Snapshot
from kvbm_events.schema.errors import IllegalTransition, LogGap
from kvbm_nats.projection.answers import InstanceRow, to_struct
from kvbm_nats.projection.backend import Backend, Store
from kvbm_nats.projection.changes import Changes
from kvbm_nats.projection.contents import opened, read_early
from kvbm_nats.projection.errors import RebuildNeeded
from kvbm_nats.projection.fold import Fold
from kvbm_nats.projection.schema import VERSION, instance
from kvbm_nats.projection.snapshots import read_weight
from kvbm_nats.recovery import recover
from kvbm_statemachine import State, digest_of, from_bytes

WRITE_BYTES = 8 << 20
"""Bodies of events that one transaction writes, about."""

_logger = structlog.get_logger(__name__)


async def prove(log: Log, position: Position) -> None:
    """Whether the log still has what was read from it up to here.

    Raises:
        RebuildNeeded: it ends earlier, or another event is there.
    """
    if not position.seq:
        return
    found = await log.position(position.seq)
    if found is None and (last := await log.last_seq()) < position.seq:
        raise RebuildNeeded(f"the log ends at {last}, and the projection at {position.seq}: the log lost its end")
    if found and position.message_id and found.message_id != position.message_id:
        raise RebuildNeeded(
            f"at {position.seq} the log has {found.message_id}, and the projection was made from {position.message_id}"
        )


async def resume(log: Log, backend: Backend, store: Store) -> Fold:
    """The states at the store's checkpoint, from the log: snapshots and what comes after them.

    Raises:
        RebuildNeeded: the store is of another version, or not of this log, or the log cannot give the states any more.
    """
    if store.version != VERSION:
        raise RebuildNeeded(f"it is of version {store.version or 'none'}, this program writes {VERSION}")
    await prove(log, store.position)
    fold = Fold()
    async with opened(backend, store.place) as connection:
        rows = (await connection.execute(select(instance))).mappings().all()
        for row in [to_struct(InstanceRow, row) for row in rows]:
            early = await read_early(connection, row)
            here = fold.restore(row.id, row.name, await _state_of(log, row, store.position.seq), early)
            here.seq, here.at_us = row.seq, row.at_us
            here.weight = await read_weight(connection, row.id)
    return fold


async def _state_of(log: Log, row: InstanceRow, until: int) -> State:
    try:
        recovered = await recover(log, row.name, until)
    except LogGap as gap:
        raise RebuildNeeded(f"the log cannot tell the state of {row.name} at {until} any more ({gap.what})") from gap
    for note in recovered.notes:
        _logger.warning("projection: a snapshot was passed over", instance=row.name, why=note)
    state = recovered.state
    if (state.epoch, state.n) != (row.epoch, row.n):
        raise RebuildNeeded(
            f"at {until} {row.name} is at {state.epoch}.{state.n} by the log, and at {row.epoch}.{row.n} in the projection"
        )
    return state


async def begin(log: Log, store: Store, *, has_hole: bool) -> Fold:
    """Begin an empty generation: at the beginning of the log; or, where that was trimmed, one instance after the other.

    Args:
        log: the log; an instance that was trimmed begins with its oldest snapshot
        store: the empty generation
        has_hole: whether reading all instances is known to meet a hole

    Raises:
        LogGap: an instance was trimmed and no snapshot of it can be used.
    """
    fold, names = Fold(), await log.instances()
    if not has_hole and all([await _can_read(log, name, 0) for name in names]):
        return fold
    until = await log.last_seq()
    for name in names:
        await _catch_up(log, store, fold, name, until)
    changes = Changes()
    changes.position = await log.position(until) or Position(until)
    await store.write(changes)
    return fold


async def _catch_up(log: Log, store: Store, fold: Fold, name: str, until: int) -> None:
    """Take what the log has of one instance. The checkpoint stays: if this is cut short, it begins again."""
    changes, after = Changes(), 0
    if not await _can_read(log, name, 0):
        snapshot, state = await _oldest_snapshot(log, name)
        _logger.warning("projection: an instance begins with a snapshot", instance=name, seq=snapshot.seq)
        fold.seed(name, state, snapshot.seq, snapshot.at_us, changes)
        after = snapshot.seq
    async with reading(log.read(name, after=after, until=until)) as batches:
        async for batch in batches:
            for entry in batch:
                fold.take(entry, changes)
            if changes.size_bytes > WRITE_BYTES:
                await _write_without_position(store, fold, changes)
                changes = Changes()
    await _write_without_position(store, fold, changes)


async def _write_without_position(store: Store, fold: Fold, changes: Changes) -> None:
    fold.settle(changes)
    changes.position = None
    await store.write(changes)


async def _oldest_snapshot(log: Log, name: str) -> tuple[Snapshot, State]:
    """The oldest snapshot that can be loaded and that the log goes on from."""
    found: tuple[Snapshot, State] | None = None
    until: int | None = None
    while (snapshot := await log.load_snapshot(name, until)) and await _can_read(log, name, snapshot.seq):
        until = snapshot.seq - 1
        if digest_of(snapshot.state) == snapshot.digest:
            try:
                found = snapshot, from_bytes(snapshot.state)
            except IllegalTransition:
                continue
    if found is None:
        raise LogGap(
            f"{name!r} cannot be projected",
            why="its first events were trimmed, and no snapshot that goes on to the rest can be used",
            hint="let its owner write a snapshot",
        )
    return found


async def _can_read(log: Log, name: str, after: int) -> bool:
    try:
        async with reading(log.read(name, after=after, until=await log.last_seq(name))) as batches:
            async for _ in batches:
                break
    except LogGap:
        return False
    return True


@asynccontextmanager
async def reading(batches: AsyncIterator[list[Entry]]) -> AsyncIterator[AsyncIterator[list[Entry]]]:
    """The batches, and the reader closed at the end."""
    try:
        yield batches
    finally:
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()
