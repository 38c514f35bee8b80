"""Opened: a new epoch over what the one before left."""

from __future__ import annotations

from kvbm_events.schema import MAX_CAPACITY, Opened, TierName, TierSpec, to_runs
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine.columns import Columns
from kvbm_statemachine.policies import POLICIES, make_policy
from kvbm_statemachine.state import State
from kvbm_statemachine.table import Step
from kvbm_statemachine.tier import Tier


def opened(state: State, event: Opened, _columns: Columns | None = None) -> None:
    """Kept tiers keep their blocks, the others start empty; requests keep what they hold, or let go of all."""
    _check(state, event)
    before, kept = state.tiers, set(event.kept)
    if event.requests == "dropped":
        for name in list(state.requests):
            _drop_request(state, name)
    else:
        for request in state.requests.values():
            for tier in before.keys() - kept:
                request.pins.pop(tier, None)
                request.allocated.pop(tier, None)
    tiers: dict[TierName, Tier] = {
        spec.tier: _reopen(before[spec.tier], spec) if spec.tier in kept else Tier(spec) for spec in event.tiers
    }
    _cut_transfers(state, kept, tiers)
    state.namespace = event.namespace
    state.set_tiers(tiers)


def _check(state: State, event: Opened) -> None:
    if event.n != 0 or event.epoch <= state.epoch:
        raise IllegalTransition(f"Opened {event.epoch}.{event.n}", why=f"epoch {state.epoch} is the last one known")
    names = [spec.tier for spec in event.tiers]
    if not names or names != sorted(set(names)):
        raise IllegalTransition("Opened", why=f"tiers {names} are not each once and fastest first")
    specs = {spec.tier: spec for spec in event.tiers}
    for spec in event.tiers:
        if not 0 < spec.capacity <= MAX_CAPACITY or spec.policy not in POLICIES or spec.seen_min < 1:
            raise IllegalTransition("Opened", why=f"{spec} cannot be")
    for tier in event.kept:
        if flaw := why_not_kept(state, event.namespace, specs.get(tier), tier):
            raise IllegalTransition(f"Opened with {tier} kept", why=flaw)


def why_not_kept(state: State, namespace: str, spec: TierSpec | None, tier: TierName) -> str:
    """What forbids that a new epoch keeps a tier's blocks; empty if nothing does."""
    old = state.tiers.get(tier)
    if old is None or spec is None:
        return "the tier is not in both epochs"
    if namespace != state.namespace:
        return f"its blocks are of namespace {state.namespace!r}, not {namespace!r}"
    if (old.spec.capacity, old.spec.control) != (spec.capacity, spec.control):
        return f"it was {old.spec.control} with {old.spec.capacity} slots, not {spec.control} with {spec.capacity}"
    return ""


def _drop_request(state: State, name: str) -> None:
    request = state.requests.pop(name)
    for tier, runs in request.allocated.items():
        state.tiers[tier].slots.move(Step.GIVEN_BACK, runs)
    for tier, slots in request.pins.items():
        for slot in slots:
            state.tiers[tier].unpin(slot)


def _cut_transfers(state: State, kept: set[TierName], tiers: dict[TierName, Tier]) -> None:
    """Nothing arrives any more in a tier that starts empty; but a worker that lives on may still write there, so that
    these slots begin in quarantine. What comes out of such a tier has nothing to pin any more.
    """
    for transfer in list(state.transfers.values()):
        if transfer.tier not in kept:
            if transfer.source in kept and transfer.has_source:
                state.tiers[transfer.source].unpin(transfer.source_slot)
            transfer.forget_source()
            tier = tiers.get(transfer.tier)
            doubtful = transfer.abandon(tier.spec.capacity if tier else 0)
            if tier and doubtful:
                tier.slots.move(Step.INHERITED, to_runs(doubtful))
            else:
                del state.transfers[transfer.id]
        elif transfer.source not in kept:
            transfer.forget_source()


def _reopen(tier: Tier, spec: TierSpec) -> Tier:
    """The same blocks under what may differ: the policy and the admission."""
    if tier.spec.policy != spec.policy:
        tier.policy = make_policy(spec.policy, tier.lineage, spec.capacity)
        for chain in tier.lineage.chains.values():
            if not chain.condemned:
                tier.policy.registered(chain, len(chain.slots))
    tier.spec = spec
    return tier
