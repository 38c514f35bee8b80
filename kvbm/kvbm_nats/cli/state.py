"""`kvbm state`: what is in the tiers, now or at any moment."""

from __future__ import annotations

import asyncio

from kvbm_nats.cli.output import write_table, write_words
from kvbm_nats.cli.source import MomentOptions, opened, seq_of
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.explain import states_at
from kvbm_nats.explain.answers import InstanceState
from kvbm_nats.explain.words import blocks

NAMED_MAX = 20
"""Requests, transfers and contents of a tier that are named to people."""


def state(*, json: Json = False, source: MomentOptions | None = None) -> bool:
    """Each instance's tiers, open requests and transfers, as its owner had them at a moment.

    Exit code 0: there is one. 1: no instance had begun by then.

    Args:
        json: one JSON object an instance, for machines
        source: what is read
    """
    found = asyncio.run(_states(source or MomentOptions()))
    for each in found:
        if json:
            write_json(each)
        else:
            _tell(each)
    if not found and not json:
        write_words("no instance had begun by then")
    return bool(found)


async def _states(options: MomentOptions) -> list[InstanceState]:
    async with opened(options) as projection:
        return await states_at(projection, await seq_of(projection, options.at), options.instance)


def _tell(state: InstanceState) -> None:
    write_words(
        f"{state.instance} as of sequence {state.as_of_seq:,}: {state.epoch}.{state.n}, {state.namespace}", style="bold"
    )
    write_table(
        ("tier", "capacity", "free", "allocated", "registered", "closed", "policy"),
        [
            (
                tier,
                *(f"{each:,}" for each in (slots.capacity, slots.free, slots.allocated, slots.registered)),
                f"{slots.condemned + slots.quarantined:,}",
                slots.policy,
            )
            for tier, slots in state.tiers.items()
        ],
        text=("policy",),
    )
    for tier, contents in state.contents.items():
        write_words(f"{tier} has {_named([f'{name} (rank {rank})' for rank, name in contents.items()])}")
    write_words(f"{blocks(len(state.requests), 'open request')}{_after_colon(state.requests)}")
    write_words(f"{blocks(len(state.transfers), 'open transfer')}{_after_colon(state.transfers)}")
    write_words(f"digest {state.digest}")


def _after_colon(names: list[str]) -> str:
    return f": {_named(names)}" if names else ""


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX:,} more" if len(names) > NAMED_MAX else ""
    return f"{', '.join(names[:NAMED_MAX])}{more}"
