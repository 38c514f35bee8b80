"""Every metric's name, kind, labels and meaning. `docs/metrics.md` has each with the question that it answers.

Units are base units and stand last in the name: seconds, bytes; what counts blocks or events says so. Of a path, `source` is
where blocks come from and `target` where they go. Counters begin at 0 with their process.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric; the name is what Prometheus shows, a counter's with `_total`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


_INSTANCE = ("instance",)
_PATH = ("instance", "source", "target")
_RANK = ("instance", "rank")
_PEER = ("instance", "peer")

LOOKUPS = Metric("kvbm_lookups_total", "counter", ("instance", "result"), "Look-ups: hit (all), partial, miss (none)")
ASKED = Metric("kvbm_asked_blocks_total", "counter", _INSTANCE, "Blocks that look-ups asked for")
FOUND = Metric("kvbm_found_blocks_total", "counter", ("instance", "tier"), "Blocks that look-ups found")
EVICTED = Metric("kvbm_evicted_blocks_total", "counter", ("instance", "tier", "reason"), "Blocks that left a tier")
TRANSFERS = Metric("kvbm_transfers_total", "counter", (*_PATH, "outcome"), "Transfers: completed, partial, failed")
FAILED = Metric("kvbm_failed_blocks_total", "counter", (*_PATH, "reason"), "Blocks of transfers that did not arrive")
MOVED = Metric("kvbm_moved_bytes_total", "counter", _PATH, "Bytes that arrived, of all ranks")
DURATION = Metric("kvbm_transfer_duration_seconds", "histogram", _PATH, "From a transfer's start to its last block")
WAITING = Metric("kvbm_waiting_blocks", "gauge", _PATH, "Blocks that wait for their path")
IN_FLIGHT = Metric("kvbm_in_flight_blocks", "gauge", _PATH, "Blocks that are under way")
DROPPED = Metric("kvbm_dropped_blocks_total", "counter", (*_PATH, "reason"), "Blocks that did not begin their way")
SLOTS = Metric("kvbm_slots", "gauge", ("instance", "tier", "state"), "Slots by state")
REQUESTS = Metric("kvbm_requests", "gauge", _INSTANCE, "Open requests")
PENDING = Metric("kvbm_log_pending_events", "gauge", _INSTANCE, "Events decided and not yet acknowledged by the log")
APPEND = Metric(
    "kvbm_log_append_duration_seconds", "histogram", _INSTANCE, "From sending events to their acknowledgement"
)
ACKED = Metric("kvbm_log_acknowledged_event", "gauge", _INSTANCE, "Number in the epoch of the last acknowledged event")
EPOCH = Metric("kvbm_epoch", "gauge", _INSTANCE, "The owner's epoch")
HEARTBEAT = Metric(
    "kvbm_worker_heartbeat_age_seconds", "gauge", (*_RANK, "seen_by"), "Since a worker was last heard: by owner, worker"
)
WORKER_MOVED = Metric(
    "kvbm_worker_moved_bytes_total", "counter", (*_RANK, "source", "target"), "Bytes that a worker moved, of its rank"
)
MISMATCHES = Metric(
    "kvbm_worker_checksum_mismatches_total", "counter", (*_RANK, "tier"), "Blocks that were read with other bytes"
)
PEER_BLOCKS = Metric(
    "kvbm_peer_blocks", "gauge", (*_PEER, "state"), "Blocks that a peer has in object storage: known, passed_over"
)
PEER_CURRENT = Metric("kvbm_peer_current", "gauge", _PEER, "Whether a peer's log is read as fast as it grows: 1 or 0")
NOTED = Metric("kvbm_noted_blocks_total", "counter", _PEER, "Blocks of a peer that look-ups found and took note of")
LAG = Metric("kvbm_projector_lag_events", "gauge", (), "Entries of the log that are not in the tables yet")
LAG_S = Metric(
    "kvbm_projector_lag_seconds", "gauge", (), "Age of the oldest event that is not in the tables; 0 if none"
)
APPLIED = Metric("kvbm_projector_applied_events_total", "counter", (), "Events that were written to the tables")
HELD = Metric("kvbm_memory_held", "gauge", ("name",), "Whether a worker has this memory: 1 or 0")
PUSHED = Metric("kvbm_memory_pushed_bytes_total", "counter", ("name",), "Bytes that this memory sent to its worker")

METRICS = tuple(each for each in globals().values() if isinstance(each, Metric))
