"""Which worlds are asked for, and how that is written."""

import pytest

from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.whatif import parse_cases

PLAN = [TierSpec(tier="g1", capacity=100, control="observed"), TierSpec(tier="g2", capacity=1000)]


def test_the_plan_comes_first_and_each_world_once():
    cases = parse_cases(PLAN, policies="lru,lineage-lru", capacities=["g2=1x,2x"], admissions="selective/3")
    assert [case.name for case in cases] == [
        "the plan",
        "selective/3",
        "g2=2000",
        "g2=2000 selective/3",
        "lru",
        "lru selective/3",
        "lru g2=2000",
        "lru g2=2000 selective/3",
    ]
    assert cases[0].tiers == [TierSpec(tier="g1", capacity=100), PLAN[1]], "what an engine decided, we would decide"
    last = cases[-1].tiers
    assert [(spec.policy, spec.capacity, spec.admission) for spec in last] == [
        ("lru", 100, "write_through"),
        ("lru", 2000, "selective"),
    ]


def test_sizes_are_blocks_or_multiples():
    cases = parse_cases(PLAN, capacities=["g1=.5x,250", "g2=1_500"])
    assert [[spec.capacity for spec in case.tiers] for case in cases] == [
        [100, 1000],
        [100, 1500],
        [50, 1000],
        [50, 1500],
        [250, 1000],
        [250, 1500],
    ]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"policies": "lfu"}, "there is no such policy"),
        ({"admissions": "always"}, "there is no such"),
        ({"capacities": ["g3=100"]}, "of a tier of the plan: g1, g2"),
        ({"capacities": ["g1"]}, "it is TIER=SIZE"),
        ({"capacities": ["g1=2y"]}, "a size is 1 to"),
        ({"capacities": ["g1=0x"]}, "a size is 1 to"),
        ({"capacities": ["g1=" + ",".join(map(str, range(1, 60))), "g2=1,2"]}, "each is played whole"),
    ],
)
def test_what_is_no_world_is_refused(asked, why):
    with pytest.raises(InvalidCommand, match=why):
        parse_cases(PLAN, **asked)
