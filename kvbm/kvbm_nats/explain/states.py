"""states_at: what is in the tiers of instances, as their owners had it at a moment."""

from __future__ import annotations

from contextlib import suppress

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.explain.answers import InstanceState
from kvbm_nats.explain.contents import contents_of
from kvbm_nats.projection import Projection
from kvbm_statemachine import State


async def states_at(projection: Projection, until: int, instance: str | None = None) -> list[InstanceState]:
    """One instance or all, by name, after all entries up to and with a sequence; those that had begun by then."""
    found: list[InstanceState] = []
    for name in [row.name for row in await projection.instances() if instance in {None, row.name}]:
        with suppress(InvalidCommand):  # it began later
            found.append(instance_state(name, await projection.state(name, until), until))
    return found


def instance_state(instance: str, state: State, until: int) -> InstanceState:
    """The answer that a folded state is."""
    contents = contents_of(instance, state)
    return InstanceState(
        instance=instance,
        namespace=contents.namespace,
        as_of_seq=until,
        epoch=contents.epoch,
        n=contents.n,
        tiers=contents.slots,
        contents={tier.name: dict(sorted(tier.contents.items())) for tier in state.tiers.values() if tier.contents},
        requests=contents.requests,
        transfers=contents.transfers,
        digest=contents.digest,
    )
