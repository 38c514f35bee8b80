"""The worlds to compare: every combination of the policies, capacities and admissions that were asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product

from msgspec import Struct, structs

from kvbm_events.schema import MAX_CAPACITY, TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.plan import parse_admission
from kvbm_statemachine import POLICIES

CASES_MAX = 100
PLAN = "the plan"
_SIZE = re.compile(r"(?P<times>[0-9]+|[0-9]*\.[0-9]+)x|(?P<blocks>[0-9][0-9_]*)")
Change = Callable[[TierSpec], TierSpec]


class Case(Struct, frozen=True, kw_only=True):
    """One world.

    :ivar name: what differs from the recorded plan; `PLAN` where nothing does
    """

    name: str
    tiers: list[TierSpec]


def parse_cases(
    plan: Sequence[TierSpec], *, policies: str = "", capacities: Iterable[str] = (), admissions: str = ""
) -> list[Case]:
    """The plan itself, and all combinations of what is asked for, each plan once.

    Args:
        plan: as recorded; a tier that an engine decides in becomes one of ours
        policies: names, with commas; each is that of every tier
        capacities: `TIER=SIZE,SIZE`, a size being blocks or `2x` for so many times the plan's
        admissions: `write_through`, `selective/3`, `on_evict`, with commas; each is that of every tier below the first

    Raises:
        InvalidCommand: one is not written so, names no tier of the plan, or there are more than `CASES_MAX`.
    """
    owned = [structs.replace(spec, control="owned") for spec in plan]
    axes = [
        [_policy(word) for word in _words(policies)],
        *(_capacities(owned, text) for text in capacities),
        [_admission(word, owned) for word in _words(admissions)],
    ]
    cases: dict[tuple[object, ...], Case] = {}
    for changes in product(*([_same, *axis] for axis in axes)):
        tiers = owned
        for change in changes:
            tiers = [change(spec) for spec in tiers]
        cases.setdefault(tuple(map(structs.astuple, tiers)), Case(name=_name(owned, tiers), tiers=tiers))
        if len(cases) > CASES_MAX:
            raise InvalidCommand(
                f"more than {CASES_MAX} worlds", why="each is played whole", hint="ask for fewer at a time"
            )
    return list(cases.values())


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _same(spec: TierSpec) -> TierSpec:
    return spec


def _policy(name: str) -> Change:
    if name not in POLICIES:
        raise InvalidCommand(f"policy {name!r}", why="there is no such policy", hint=", ".join(POLICIES))
    return lambda spec: structs.replace(spec, policy=name)


def _admission(word: str, plan: Sequence[TierSpec]) -> Change:
    admission, seen_min = parse_admission(word)
    return lambda spec: (
        spec if spec.tier == plan[0].tier else structs.replace(spec, admission=admission, seen_min=seen_min)
    )


def _capacities(plan: Sequence[TierSpec], text: str) -> list[Change]:
    name, _, sizes = text.partition("=")
    spec = next((spec for spec in plan if spec.tier == name), None)
    if spec is None or not sizes:
        raise InvalidCommand(
            f"capacity {text!r}",
            why=f"it is TIER=SIZE,..., of a tier of the plan: {', '.join(spec.tier for spec in plan)}",
            hint="g2=1x,2x,4x, or g2=16384,32768",
        )
    return [_capacity(spec, word) for word in _words(sizes)]


def _capacity(spec: TierSpec, word: str) -> Change:
    match = _SIZE.fullmatch(word)
    blocks = round(float(match["times"]) * spec.capacity) if match and match["times"] else int((match or [0])[0])
    if not 0 < blocks <= MAX_CAPACITY:
        raise InvalidCommand(
            f"capacity {spec.tier}={word}", why=f"a size is 1 to {MAX_CAPACITY} blocks, or a multiple as 2x or .5x"
        )
    return lambda other: structs.replace(other, capacity=blocks) if other.tier == spec.tier else other


def _name(plan: Sequence[TierSpec], tiers: Sequence[TierSpec]) -> str:
    """What differs, policies and admissions once where they are the same for all."""
    parts = list[str]()
    policies = list(dict.fromkeys(spec.policy for spec in tiers))
    if [spec.policy for spec in tiers] != [spec.policy for spec in plan]:
        parts += policies
    parts += [
        f"{spec.tier}={spec.capacity}" for spec, was in zip(tiers, plan, strict=True) if spec.capacity != was.capacity
    ]
    below = [(spec.admission, spec.seen_min) for spec in tiers[1:]]
    if below != [(spec.admission, spec.seen_min) for spec in plan[1:]]:
        admission, seen_min = below[0]
        parts.append(f"{admission}/{seen_min}" if admission == "selective" else admission)
    return " ".join(parts) or PLAN
