"""`kvbm quarantine`: slots to which a mover that is gone may still write, and a person's word that it will not."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated

from cyclopts import Parameter
from msgspec import Struct

from kvbm_events.schema import Runs, TierName, to_runs, total
from kvbm_events.schema.errors import UnknownTier
from kvbm_nats.caretaker import caretaker_of
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.output import write_table
from kvbm_nats.cli.text import Json, write_json, write_line
from kvbm_nats.recovery import recover
from kvbm_statemachine import State


class Doubt(Struct, frozen=True, kw_only=True):
    """A transfer that failed, and the slots to which its mover may still write."""

    transfer: str
    source: TierName
    tier: TierName
    slots: Runs
    deadline_us: int


class Quarantine(Struct, frozen=True, kw_only=True):
    """All of an instance.

    :ivar slots: by tier, how many are in quarantine
    :ivar freed: how many were freed by this command
    """

    instance: str
    slots: dict[TierName, int]
    transfers: list[Doubt]
    freed: int = 0


def quarantine(
    *,
    free: bool = False,
    tier: Annotated[tuple[TierName, ...], Parameter(negative_iterable="")] = (),
    actor: str = "",
    json: Json = False,
    nats: NatsOptions | None = None,
) -> bool:
    """Show the slots of an instance that are in quarantine: a transfer failed, and its mover may still write there.

    They come free by themselves when the worker says that it stopped, or its successor comes. A worker that never comes
    back leaves them for ever; then `--free` says on your word that it writes no more. If it does all the same, what it
    overwrites is found corrupt when it is read. An event says whose word it was.

    Exit code 0: none is in quarantine (any more). 1: some are.

    Args:
        free: set them free
        tier: only those of this tier; again for another one
        actor: who says so, in the event; your user's name by default
        json: one JSON object, for machines
        nats: which instance, and where its log is
    """
    found = asyncio.run(_run(nats or NatsOptions(), tier, f"operator {actor or getpass.getuser()}" if free else ""))
    if json:
        write_json(found)
    else:
        _tell(found)
    return not any(found.slots.values())


async def _run(options: NatsOptions, tiers: tuple[TierName, ...], actor: str) -> Quarantine:
    log = await connect_log(options)
    try:
        state = (await recover(log, options.instance)).state
        wanted: list[TierName] = [state.tier(name).name for name in tiers] or list(state.tiers)
        if not wanted:
            raise UnknownTier(f"there is no instance {options.instance!r}", why="its log is empty")
        freed = 0
        if actor:
            async with caretaker_of(log, options.nats_url, options.instance, state) as caretaker:
                freed = await caretaker.free_quarantined(wanted, actor=actor)
            state = (await recover(log, options.instance)).state
        return _look(state, options.instance, wanted, freed)
    finally:
        await log.close()


def _look(state: State, instance: str, tiers: list[TierName], freed: int) -> Quarantine:
    doubts = [
        Doubt(
            transfer=transfer.id,
            source=transfer.source,
            tier=transfer.tier,
            slots=to_runs(sorted(transfer.quarantined)),
            deadline_us=transfer.deadline_us,
        )
        for transfer in state.transfers.values()
        if transfer.quarantined and transfer.tier in tiers
    ]
    slots: dict[TierName, int] = {
        tier: sum(total(doubt.slots) for doubt in doubts if doubt.tier == tier) for tier in tiers
    }
    return Quarantine(instance=instance, slots=slots, transfers=doubts, freed=freed)


def _tell(found: Quarantine) -> None:
    if found.freed:
        write_line(f"{found.freed:,} slots are free again")
    if found.transfers:
        rows = [
            (doubt.transfer, f"{doubt.source} to {doubt.tier}", f"{total(doubt.slots):,}") for doubt in found.transfers
        ]
        write_table(("transfer", "path", "slots"), rows)
    for tier, slots in found.slots.items():
        write_line(f"{tier}: {slots:,} in quarantine")
