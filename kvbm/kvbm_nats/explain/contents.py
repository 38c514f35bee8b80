"""What is in the tiers of an instance, in one form: of a moment in its log, or of the tables as they are now."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import select

from kvbm_events.schema import TIERS, TierName
from kvbm_nats.explain.answers import Slots
from kvbm_nats.projection import Projection, schema
from kvbm_statemachine import SlotState, State, digest


class Contents(Struct, frozen=True, kw_only=True):
    """An instance as of a moment.

    :ivar slots: by tier, its slots by state
    :ivar blocks: by tier, the slot of each key that can be matched
    :ivar digest: of the whole state, where it was folded; two equal ones mean equal states
    """

    instance: str
    namespace: str
    epoch: int
    n: int
    slots: dict[TierName, Slots]
    blocks: dict[TierName, dict[str, int]]
    requests: list[str]
    transfers: list[str]
    digest: str = ""


async def contents_at(projection: Projection, instance: str, seq: int) -> Contents:
    """The contents after all the instance's entries up to and with `seq`.

    Raises:
        InvalidCommand: the projection has nothing of the instance up to there.
    """
    return contents_of(instance, await projection.state(instance, seq))


def contents_of(instance: str, state: State) -> Contents:
    """The contents of a folded state."""
    return Contents(
        instance=instance,
        namespace=state.namespace,
        epoch=state.epoch,
        n=state.n,
        slots={
            tier.name: Slots(capacity=tier.spec.capacity, policy=tier.spec.policy, **tier.counts())
            for tier in state.tiers.values()
        },
        blocks={tier.name: dict(tier.lineage.index) for tier in state.tiers.values()},
        requests=sorted(state.requests),
        transfers=list(state.transfers),
        digest=digest(state),
    )


async def contents_now(projection: Projection) -> list[Contents]:
    """What the tables hold, of every instance, by name."""
    rows = {row.name: row for row in await projection.instances()}
    tiers, requests, transfers = await projection.tiers(), await projection.requests(), await projection.transfers()
    blocks: dict[str, dict[TierName, dict[str, int]]] = {name: {} for name in rows}
    for tier in tiers:
        blocks[tier.instance][tier.tier] = await _keys_of(projection, rows[tier.instance].id, tier.tier)
    return [
        Contents(
            instance=name,
            namespace=row.namespace,
            epoch=row.epoch,
            n=row.n,
            slots={
                tier.tier: Slots(
                    capacity=tier.capacity,
                    policy=tier.policy,
                    free=tier.free,
                    allocated=tier.allocated,
                    registered=tier.registered,
                    condemned=tier.condemned,
                    quarantined=tier.quarantined,
                )
                for tier in tiers
                if tier.instance == name
            },
            blocks=blocks[name],
            requests=sorted(each.name for each in requests if each.instance == name),
            transfers=[each.id for each in transfers if each.instance == name],
        )
        for name, row in rows.items()
    ]


async def _keys_of(projection: Projection, instance_id: int, tier: TierName) -> dict[str, int]:
    first, last = (schema.block_id(instance_id, tier, slot) for slot in (0, schema.SLOTS_MAX - 1))
    column = schema.block.c
    wanted = select(column.id, column.key).where(
        column.id.between(first, last), column.state == int(SlotState.REGISTERED)
    )
    async with projection.connection() as connection:
        return {row.key.hex(): row.id - first for row in await connection.execute(wanted)}


def tiers_of(*contents: Contents | None) -> list[TierName]:
    """The tiers that one of them has, fastest first."""
    named = {tier for each in contents if each for tier in each.slots}
    return [tier for tier in TIERS if tier in named]
