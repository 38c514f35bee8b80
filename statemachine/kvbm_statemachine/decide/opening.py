"""plan_opening: the first event of a new epoch."""

from __future__ import annotations

from collections.abc import Sequence

from kvbm_events.schema import MAX_CAPACITY, Opened, Requests, TierName, TierSpec
from kvbm_events.schema.errors import InvalidCommand, NamespaceMismatch
from kvbm_statemachine.decide.desk import check_priority
from kvbm_statemachine.effects.opening import why_not_kept
from kvbm_statemachine.policies import POLICIES
from kvbm_statemachine.state import State


def plan_opening(
    state: State,
    *,
    namespace: str,
    owner: str,
    tiers: Sequence[TierSpec],
    keep: Sequence[TierName],
    requests: Requests,
    now_us: int,
) -> Opened:
    """The event that begins the next epoch over this state. The owner evolves it once the log has taken it.

    Tiers in `keep` keep their blocks if they can: one that is new, or of another size, starts empty.

    Raises:
        NamespaceMismatch: blocks would be kept that belong to another namespace; the message says which field differs.
        InvalidCommand: the plan has no tier, one twice, an unknown policy, or a size or an admission that cannot be.
    """
    names: list[TierName] = [spec.tier for spec in tiers]
    if not names or names != sorted(set(names)):
        raise InvalidCommand(
            f"tiers {names}", why="a plan has each tier once, fastest first", hint="order them g1 to g4"
        )
    for spec in tiers:
        if not 0 < spec.capacity <= MAX_CAPACITY:
            raise InvalidCommand(f"{spec.tier} with {spec.capacity} slots", why=f"a tier has 1 to {MAX_CAPACITY}")
        if spec.policy not in POLICIES:
            raise InvalidCommand(f"policy {spec.policy!r} of {spec.tier}", hint=f"choose one of {', '.join(POLICIES)}")
        if spec.seen_min < 1:
            raise InvalidCommand(f"seen_min {spec.seen_min} of {spec.tier}", why="a block is seen at least once")
        if spec.priority_min:
            check_priority(spec.priority_min)
            if spec.admission == "on_evict":
                raise InvalidCommand(
                    f"priority_min {spec.priority_min} of {spec.tier} with on_evict",
                    why="of a block that is about to leave nobody knows for whom it was",
                    hint="use write_through or selective",
                )
    if state.epoch and namespace != state.namespace and any(tier in state.tiers for tier in keep):
        raise NamespaceMismatch(
            f"namespace {namespace!r} cannot keep blocks of {state.namespace!r}",
            why=_first_difference(state.namespace, namespace),
            hint="open without keeping these tiers, or under another instance name",
        )
    specs = {spec.tier: spec for spec in tiers}
    kept: list[TierName] = [
        name for name in names if name in keep and not why_not_kept(state, namespace, specs[name], name)
    ]
    return Opened(
        epoch=state.epoch + 1,
        n=0,
        at_us=now_us,
        namespace=namespace,
        owner=owner,
        tiers=list(tiers),
        kept=kept,
        requests=requests,
    )


def _first_difference(before: str, after: str) -> str:
    """Name the field that differs, in namespaces of the form `field=value;…`."""
    old, new = ([part.partition("=") for part in text.split(";")] for text in (before, after))
    for (name, _, was), (other, _, now) in zip(old, new, strict=False):
        if (name, was) != (other, now):
            return f"{name} was {was!r} and is {now!r}" if name == other and was else f"{name!r} became {other!r}"
    return "one has more fields than the other"
