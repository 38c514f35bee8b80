"""Workloads: recorded traces of real traffic, generated ones of the same shape, their figures and their pace.

What is exported here knows of no cache, log or NATS. `play` plays a trace against a cache; `embedded` and `served` are
the caches that it can play against.
"""

from kvbm_nats.traces.errors import InvalidTrace
from kvbm_nats.traces.generate import generate
from kvbm_nats.traces.load import load_trace
from kvbm_nats.traces.mooncake import write
from kvbm_nats.traces.pacing import AS_FAST_AS_IT_GOES, apaced, paced
from kvbm_nats.traces.request import TraceRequest
from kvbm_nats.traces.stats import TraceStats, measure
from kvbm_nats.traces.workload import Agent, Chat, Workload

__all__ = [
    "AS_FAST_AS_IT_GOES",
    "Agent",
    "Chat",
    "InvalidTrace",
    "TraceRequest",
    "TraceStats",
    "Workload",
    "apaced",
    "generate",
    "load_trace",
    "measure",
    "paced",
    "write",
]
