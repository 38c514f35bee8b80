"""The check itself: what it must find in expressions of the documents and the dashboard."""

import pytest

from support.promql import faults


@pytest.mark.parametrize(
    "expression",
    [
        'sum by (tier) (rate(kvbm_found_blocks_total{instance=~"$instance"}[$__rate_interval]))',
        "histogram_quantile(0.99, sum by (le, source) (rate(kvbm_transfer_duration_seconds_bucket[5m])))",
        "kvbm_slots{state='free'} / on(instance, tier) group_left sum by (instance, tier) (kvbm_slots)",
    ],
)
def test_what_is_exposed_is_taken(expression):
    assert faults(expression) == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(kvbm_finds_total[5m])", "kvbm_finds_total"),
        ('kvbm_slots{level="g1"}', "level"),
        ("sum by (reason) (kvbm_slots)", "reason"),
        ("kvbm_epoch / on(tier) kvbm_requests", "tier"),
        ("kvbm_transfer_duration_seconds", "kvbm_transfer_duration_seconds"),
    ],
)
def test_what_nobody_exposes_is_found(expression, fault):
    assert fault in " ".join(faults(expression))


def test_what_is_no_promql_is_refused():
    with pytest.raises(ValueError, match="parenthesis"):
        faults("sum by (tier (kvbm_slots)")
