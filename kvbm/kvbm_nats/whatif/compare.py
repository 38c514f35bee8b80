"""Play all worlds over one recording, and say how they differ from the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from msgspec import Struct

from kvbm_events.schema import TierName, unpack_keys
from kvbm_nats.whatif.belady import best_possible
from kvbm_nats.whatif.cases import Case
from kvbm_nats.whatif.recorded import Recorded
from kvbm_nats.whatif.workload import Step
from kvbm_nats.whatif.world import Evictions, World

DIFFERENCES_MAX = 3
"""Decisions told of each world: from the first on, everything after it follows from other contents."""
KEYS_MAX = 4

Eviction = tuple[TierName, str]


class Difference(Struct, frozen=True, kw_only=True):
    """A step at which a world evicted other blocks than the first one.

    :ivar step: its number in the recording
    :ivar at_us: when, by the recording's clock
    :ivar blocks: how many only this world evicted, and `keys` the first of them, as `tier key`
    :ivar base_blocks: how many only the first world evicted, and `base_keys` the first of them
    """

    step: int
    at_us: int
    request: str
    blocks: int
    keys: list[str]
    base_blocks: int
    base_keys: list[str]


class Answer(Struct, frozen=True, kw_only=True):
    """What became of one world, in blocks.

    :ivar asked: by all look-ups
    :ivar found: hits by tier
    :ivar moved: by path, `g1-g2`
    :ivar evicted: by tier
    :ivar bound: hits that were possible in as many slots by Belady's rule
    :ivar differences: from the first world, the first few
    """

    case: Case
    asked: int
    found: dict[TierName, int]
    moved: dict[str, int]
    evicted: dict[TierName, int]
    bound: int
    differences: list[Difference]

    @property
    def hits(self) -> int:
        """In any tier."""
        return sum(self.found.values())


def answer(
    recorded: Recorded, cases: Sequence[Case], *, on_progress: Callable[[int], None] = lambda _done: None
) -> list[Answer]:
    """Play every case. The same recording and cases give the same answers, to the byte.

    Args:
        recorded: what was asked
        cases: the worlds; the first is what the others are compared with
        on_progress: called after each with how many are done
    """
    bounds: dict[int, int] = {}
    base: list[Evictions] | None = None
    answers = list[Answer]()
    for case in cases:
        world = World(case.tiers)
        world.play(recorded.steps)
        slots = sum(spec.capacity for spec in case.tiers)
        if slots not in bounds:
            bounds[slots] = best_possible(recorded.steps, slots)
        base = world.evictions if base is None else base
        answers.append(_answer(case, world, bounds[slots], _differences(recorded.steps, base, world.evictions)))
        on_progress(len(answers))
    return answers


def _answer(case: Case, world: World, bound: int, differences: list[Difference]) -> Answer:
    return Answer(
        case=case,
        asked=world.asked,
        found={tier: world.found[tier] for tier in sorted(world.found)},
        moved={f"{source}-{tier}": world.moved[source, tier] for source, tier in sorted(world.moved)},
        evicted={tier: world.evicted[tier] for tier in sorted(world.evicted)},
        bound=bound,
        differences=differences,
    )


def _differences(steps: Sequence[Step], base: Sequence[Evictions], other: Sequence[Evictions]) -> list[Difference]:
    """The first steps at which not the same was evicted."""
    if base is other:
        return []
    found = list[Difference]()
    here, there = _by_step(other), _by_step(base)
    mine, theirs = next(here, None), next(there, None)
    while (mine or theirs) and len(found) < DIFFERENCES_MAX:
        number = min(each[0] for each in (mine, theirs) if each)
        own, others = set[Eviction](), set[Eviction]()
        if mine and mine[0] == number:
            own, mine = mine[1], next(here, None)
        if theirs and theirs[0] == number:
            others, theirs = theirs[1], next(there, None)
        if own != others:
            found.append(_difference(number, steps[number], own - others, others - own))
    return found


def _by_step(evictions: Sequence[Evictions]) -> Iterator[tuple[int, set[Eviction]]]:
    for number, group in groupby(evictions, key=lambda each: each[0]):
        yield number, {(tier, key) for _, tier, keys in group for key in unpack_keys(keys)}


def _difference(number: int, step: Step, own: set[Eviction], others: set[Eviction]) -> Difference:
    return Difference(
        step=number,
        at_us=step.at_us,
        request=step.request,
        blocks=len(own),
        keys=[f"{tier} {key}" for tier, key in sorted(own)[:KEYS_MAX]],
        base_blocks=len(others),
        base_keys=[f"{tier} {key}" for tier, key in sorted(others)[:KEYS_MAX]],
    )
