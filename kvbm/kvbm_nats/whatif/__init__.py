"""What if: recorded requests under other policies, capacities and admissions, decided by the owner's own code."""

from kvbm_nats.whatif.belady import best_possible
from kvbm_nats.whatif.cases import CASES_MAX, Case, parse_cases
from kvbm_nats.whatif.compare import Answer, Difference, answer
from kvbm_nats.whatif.recorded import Recorded, from_events, from_trace
from kvbm_nats.whatif.workload import Ask, Fill, Leave, Step
from kvbm_nats.whatif.world import World

__all__ = [
    "CASES_MAX",
    "Answer",
    "Ask",
    "Case",
    "Difference",
    "Fill",
    "Leave",
    "Recorded",
    "Step",
    "World",
    "answer",
    "best_possible",
    "from_events",
    "from_trace",
    "parse_cases",
]
