"""What was moved, as vLLM's statistics and Prometheus metrics."""

# pyright: reportMissingImports=false
# vLLM is not installed where types are checked

from __future__ import annotations

from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats

from kvbm_nats.connectors.vllm.traffic import Moved

METRICS = {
    "blocks": ("vllm:kvbm_moved_blocks", "Blocks that arrived in another tier"),
    "bytes": ("vllm:kvbm_moved_bytes", "Bytes of blocks that arrived in another tier"),
    "failed": ("vllm:kvbm_failed_blocks", "Blocks that did not arrive in another tier"),
    "seconds": ("vllm:kvbm_busy_seconds", "Time in which blocks were under way between two tiers"),
}


class KvbmStats(KVConnectorStats):
    """Numbers by path, added up over workers and steps. See `traffic.Moved`."""

    def reset(self) -> None:
        """Begin again."""
        self.data: Moved = {}

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        """Add another one's."""
        for path, numbers in other.data.items():
            mine = self.data.setdefault(path, dict.fromkeys(numbers, 0.0))
            for name, value in numbers.items():
                mine[name] += value
        return self

    def reduce(self) -> dict[str, int | float]:
        """For vLLM's log line."""
        return {f"{path} {name}": value for path, numbers in self.data.items() for name, value in numbers.items()}

    def is_empty(self) -> bool:
        """Whether nothing was moved."""
        return not self.data


class KvbmPromMetrics(KVConnectorPromMetrics):
    """Four counters by source and tier, beside vLLM's own labels."""

    def __init__(self, vllm_config: Any, metric_types: Any, labelnames: list[str], per_engine_labelvalues: Any) -> None:
        """See vLLM."""
        super().__init__(vllm_config, metric_types, labelnames, per_engine_labelvalues)
        labels = [*labelnames, "source", "tier"]
        self._counters = {
            field: self._counter_cls(name=name, documentation=text, labelnames=labels)
            for field, (name, text) in METRICS.items()
        }

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Count what one interval has moved."""
        for path, numbers in transfer_stats_data.items():
            labels = [*self.per_engine_labelvalues[engine_idx], *path.split("_")]
            for field, counter in self._counters.items():
                counter.labels(*labels).inc(numbers[field])
