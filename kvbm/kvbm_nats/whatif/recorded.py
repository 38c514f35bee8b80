"""Where the steps come from: a trace, or the events of an instance."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from msgspec import Struct

from kvbm_events.schema import (
    AnyEvent,
    Found,
    Matched,
    Opened,
    Registered,
    Released,
    TierSpec,
    unpack_keys,
)
from kvbm_nats.traces import TraceRequest
from kvbm_nats.whatif.workload import Ask, Fill, Leave, Step
from kvbm_statemachine import State, evolve


class Recorded(Struct, kw_only=True):
    """A recording.

    :ivar tiers: the plan that it was made under, the last one where there were several; none where it is a trace
    :ivar found: blocks that its look-ups found
    :ivar unnamed: blocks that its look-ups missed and did not name: they are in nobody's figures
    """

    steps: list[Step] = []
    tiers: list[TierSpec] = []
    found: int = 0
    unnamed: int = 0


def from_trace(requests: Iterable[TraceRequest]) -> Recorded:
    """The steps of a trace: each request asks, computes what it did not find, and leaves before the next one comes."""
    steps = list[Step]()
    for request in requests:
        at_us, name = int(request.at_s * 1e6), request.request
        steps += [Ask(at_us, name, request.keys), Fill(at_us, name, request.keys), Leave(at_us, name)]
    return Recorded(steps=steps)


def from_events(events: Iterable[AnyEvent], state: State | None = None) -> Recorded:
    """The steps that an instance's events tell of, from its first event on, or from those after a state.

    Blocks that the recorded run did not register, for want of room or because a request was aborted, are computed in no
    other world either: the log does not say that they ever were.

    Raises:
        IllegalTransition: the events are no history.
    """
    state = state or State()
    recorded = Recorded(tiers=[tier.spec for tier in state.tiers.values()])
    for event in events:
        _take(recorded, state, event)
        evolve(state, event)
    return recorded


def _take(recorded: Recorded, state: State, event: AnyEvent) -> None:
    """Add what an event tells, before the state has it."""
    match event:
        case Matched():
            keys = [key for found in event.found for key in _prefix(state, found)]
            recorded.found += len(keys)
            recorded.unnamed += event.unnamed
            asked = keys + unpack_keys(event.missed)
            ask = Ask(event.at_us, event.request, asked, len(keys), event.held, event.priority, event.parent)
            recorded.steps.append(ask)
        case Registered():
            stands = event.parent in state.tier(event.tier).lineage.index
            recorded.steps.append(Fill(event.at_us, event.request, unpack_keys(event.keys), event.parent, stands))
        case Released(tier=""):
            recorded.steps.append(Leave(event.at_us, event.request))
        case Opened():
            recorded.tiers = event.tiers
            if event.requests == "dropped":
                recorded.steps += [Leave(event.at_us, name) for name in state.requests]
        case _:
            pass


def _prefix(state: State, found: Found) -> list[str]:
    """The keys of a run that a look-up found in one tier: its last, and so many before it."""
    lineage = state.tier(found.tier).lineage
    backwards = (key for chain, size in lineage.path(lineage.index[found.last]) for key in reversed(chain.keys[:size]))
    keys = list(islice(backwards, found.blocks))
    keys.reverse()
    return keys
