"""Checking a projection against its fold: the tables of the current state, and the state folded from the log anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kvbm_events.log import Log
from kvbm_events.schema import TIERS, to_runs
from kvbm_nats.projection import schema
from kvbm_nats.projection.answers import (
    InstanceRow,
    RequestRow,
    S,
    TierRow,
    TransferRow,
    select_of,
    to_struct,
)
from kvbm_nats.projection.contents import read_position
from kvbm_nats.projection.errors import RebuildNeeded
from kvbm_nats.projection.reading import open_projection
from kvbm_nats.projection.start import prove
from kvbm_nats.recovery import recover
from kvbm_statemachine import SlotState, State
from kvbm_statemachine.tier import Tier

_SHOWN = 200


class Verification(Struct, frozen=True, kw_only=True):
    """What a check found at the checkpoint `seq`: the first `difference`, empty where there is none."""

    seq: int
    instances: int
    blocks: int
    difference: str

    @property
    def is_equal(self) -> bool:
        """Whether the tables are what the log says."""
        return not self.difference


async def verify(url: str, log: Log) -> Verification:
    """Compare the current state in the tables with that of the log at the checkpoint. The projector may be at work.

    Raises:
        LogGap: the log cannot tell the state at the checkpoint any more.
        ProjectionError: the projection cannot be read.
    """
    blocks = 0
    async with open_projection(url) as projection, projection.connection() as connection:
        position = await read_position(connection)
        rows = (await connection.execute(select(schema.instance).order_by(schema.instance.c.id))).mappings().all()
        instances = [to_struct(InstanceRow, row) for row in rows]
        difference = ""
        try:
            await prove(log, position)
        except RebuildNeeded as cause:
            difference = str(cause)
        for row in instances:
            if difference:
                break
            state = (await recover(log, row.name, position.seq)).state
            blocks += sum(len(tier.lineage.index) for tier in state.tiers.values())
            difference = await _difference(connection, row, state)
    return Verification(seq=position.seq, instances=len(instances), blocks=blocks, difference=difference)


async def _difference(connection: AsyncConnection, row: InstanceRow, state: State) -> str:
    """The first difference of one instance."""
    heads = (row.epoch, row.n, row.namespace), (state.epoch, state.n, state.namespace)
    if flaw := _unlike(f"instance {row.name}", *heads):
        return flaw
    tiers = await _rows(connection, TierRow, schema.tier, row.name)
    if flaw := _first_unlike(row.name, "tier", {each.tier: each for each in tiers}, _tiers(row.name, state)):
        return flaw
    requests = await _rows(connection, RequestRow, schema.request, row.name)
    if flaw := _first_unlike(row.name, "request", {each.name: each for each in requests}, _requests(row.name, state)):
        return flaw
    transfers = await _rows(connection, TransferRow, schema.transfer, row.name)
    if flaw := _first_unlike(row.name, "transfer", {each.id: each for each in transfers}, _transfers(row.name, state)):
        return flaw
    known = {each.tier for each in tiers}
    for name in TIERS:
        wanted = dict(_blocks(state.tiers[name])) if name in known else {}
        first, last = schema.block_id(row.id, name, 0), schema.block_id(row.id, name, schema.SLOTS_MAX - 1)
        columns = schema.block.c
        stored = await connection.execute(
            select(columns.id, columns.state, columns.key).where(columns.id.between(first, last))
        )
        found = {each.id - first: (each.state, each.key.hex()) for each in stored}
        if flaw := _first_unlike(row.name, f"{name} slot", found, wanted):
            return flaw
    return ""


async def _rows(connection: AsyncConnection, kind: type[S], table: Table, name: str) -> list[S]:
    rows = (await connection.execute(select_of(table, name))).mappings().all()
    return [to_struct(kind, row) for row in rows]


def _tiers(name: str, state: State) -> dict[str, TierRow]:
    return {
        tier.name: TierRow(
            name,
            tier.name,
            tier.spec.capacity,
            tier.spec.policy,
            tier.spec.control,
            tier.spec.admission,
            tier.spec.seen_min,
            tier.spec.priority_min,
            **tier.counts(),
        )
        for tier in state.tiers.values()
    }


def _requests(name: str, state: State) -> dict[str, RequestRow]:
    return {
        each.name: RequestRow(name, each.name, each.priority, each.allocated, each.pins)
        for each in state.requests.values()
    }


def _transfers(name: str, state: State) -> dict[str, TransferRow]:
    return {
        each.id: TransferRow(
            name,
            each.id,
            each.kind,
            each.source,
            each.tier,
            each.request,
            each.priority,
            each.deadline_us,
            to_runs(each.slots),
            to_runs(list(each.open)),
            to_runs(sorted(each.quarantined)),
        )
        for each in state.transfers.values()
    }


def _blocks(tier: Tier) -> Iterator[tuple[int, tuple[int, str]]]:
    """State and key of every slot with a block."""
    for slot, state in enumerate(tier.slots.states):
        if state in {SlotState.REGISTERED, SlotState.CONDEMNED}:
            yield slot, (state, tier.lineage.key_of(slot))


def _first_unlike(instance: str, what: str, found: dict[Any, Any], wanted: dict[Any, Any]) -> str:
    if found == wanted:
        return ""
    key = min(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    return _unlike(f"{instance}: {what} {key}", found.get(key), wanted.get(key))


def _unlike(what: str, found: object, wanted: object) -> str:
    if found == wanted:
        return ""
    shown = [("nothing" if each is None else str(each))[:_SHOWN] for each in (found, wanted)]
    return f"{what}: the table has {shown[0]}, the fold has {shown[1]}"
