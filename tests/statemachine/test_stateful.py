"""Random histories over every policy and several tier plans; what is asserted stands in `support/history.py`."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from kvbm_statemachine import POLICIES
from support.history import PLANS, History

EXAMPLES = int(os.environ.get("KVBM_EXAMPLES", "20"))
"""Histories a case; more of them, each run with other ones, when the variable is set."""


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("plan", PLANS)
def test_random_history(plan: str, policy: str) -> None:
    run_state_machine_as_test(
        lambda: History(policy, PLANS[plan]),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=60,
            derandomize="KVBM_EXAMPLES" not in os.environ,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
