"""Tier plans as text."""

import pytest

from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.plan import parse_plan


def test_a_plan_names_tiers_with_what_differs_from_the_defaults():
    assert parse_plan("g3=9_000:on_evict,g1=10,g2=20:lineage-lru:selective/3") == [
        TierSpec(tier="g1", capacity=10),
        TierSpec(tier="g2", capacity=20, admission="selective", seen_min=3),
        TierSpec(tier="g3", capacity=9000, admission="on_evict"),
    ]
    assert parse_plan("g1=5,g2=9:priority/60:selective") == [
        TierSpec(tier="g1", capacity=5),
        TierSpec(tier="g2", capacity=9, admission="selective", priority_min=60),
    ]
    assert parse_plan("g1=5:observed") == [TierSpec(tier="g1", capacity=5, control="observed")]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),
        ("g1", "'g1'"),
        ("g5=3", "'g5=3'"),
        ("g1=x", "'g1=x'"),
        ("g1=3:nonsense", "'nonsense'"),
        ("g1=3:priority", "'priority'"),
        ("g1=3,g1=4", "twice"),
    ],
)
def test_what_is_no_plan_is_named(text, named):
    with pytest.raises(InvalidCommand, match=named):
        parse_plan(text)
