"""What `kvbm doctor` looks at: each check looks at one thing, changes nothing, and says what to do about what it finds."""

from kvbm_nats.doctor.accelerators import check_cuda, check_gds, check_host_kernel, check_nixl
from kvbm_nats.doctor.finding import Check, Finding, State, examine, worst
from kvbm_nats.doctor.machine import check_clock, check_disk, check_shared_memory
from kvbm_nats.doctor.nats import check_jetstream

__all__ = [
    "Check",
    "Finding",
    "State",
    "check_clock",
    "check_cuda",
    "check_disk",
    "check_gds",
    "check_host_kernel",
    "check_jetstream",
    "check_nixl",
    "check_shared_memory",
    "examine",
    "worst",
]
