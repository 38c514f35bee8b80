"""How many random histories the stateful tests play: few and the same ones, or as many as KVBM_EXAMPLES says, and others."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("KVBM_EXAMPLES", "20"))


def stateful_settings(steps: int, examples: int = EXAMPLES) -> settings:
    """For `run_state_machine_as_test`."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize="KVBM_EXAMPLES" not in os.environ,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
