"""Random histories over every policy and several tier plans; what is asserted stands in `support/history.py`."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from kvbm_statemachine import POLICIES
from support.examples import stateful_settings
from support.history import PLANS, History


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("plan", PLANS)
def test_random_history(plan: str, policy: str) -> None:
    run_state_machine_as_test(lambda: History(policy, PLANS[plan]), settings=stateful_settings(steps=60))
