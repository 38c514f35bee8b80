"""What vLLM calls where it keeps blocks in host memory by itself, and hands them down: every method hands on to `TierSide`."""

# pyright: reportMissingImports=false
# vLLM is not installed where types are checked

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import structlog
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
from vllm.v1.kv_offload.base import (
    Locality,
    LookupResult,
    Medium,
    OffloadingCounterMetadata,
    OffloadingMetricMetadata,
    RequestOffloadingContext,
)
from vllm.v1.kv_offload.tiering.base import JobResult, SecondaryTierManager, TransferJob

from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import KvbmError
from kvbm_nats.connectors.vllm.config import TierConfig, read_config
from kvbm_nats.connectors.vllm.namespace import namespace_of_offload
from kvbm_nats.connectors.vllm.stats import METRICS
from kvbm_nats.connectors.vllm.tiering.gate import PRIMARY, Gate
from kvbm_nats.connectors.vllm.tiering.side import TierSide
from kvbm_nats.connectors.vllm.traffic import Traffic
from kvbm_nats.manager import BlockManager
from kvbm_tiers import HostRows, Stack

_logger = structlog.get_logger(__name__)


class KvbmTier(SecondaryTierManager):
    """See `SecondaryTierManager`: one object, in the scheduler's process."""

    medium = Medium.STORAGE

    def __init__(
        self,
        offloading_spec: Any,
        primary_kv_view: memoryview,
        tier_type: str,
        backpressure_detector: Any = None,
        **given: Any,
    ) -> None:
        """Open the tiers, and become the owner of what is in them.

        Raises:
            InvalidCommand: a field of `given` is unknown, missing or wrong.
            KvbmError: a tier cannot be opened, or the log cannot be reached.
        """
        super().__init__(offloading_spec, primary_kv_view, tier_type, backpressure_detector)
        engine = offloading_spec.config
        parallel = engine.parallel
        replica = f"-dp{parallel.data_parallel_index}" if parallel.data_parallel_size > 1 else ""
        config = read_config(TierConfig, given, replica=replica)
        self.locality = Locality(config.locality) if config.locality else None
        namespace = namespace_of_offload(engine, config.tag)
        rows = HostRows(primary_kv_view)
        primary = TierSpec(tier=PRIMARY, capacity=rows.capacity, control="observed")
        plan = [primary, *config.plan]
        try:
            self._stack = Stack(
                plan,
                rows.layout,
                namespace,
                config.media(0, 1),
                instance=config.instance,
                nats_url=config.nats,
                given={PRIMARY: rows},
            )
        except BaseException:
            rows.close()
            raise
        try:
            gate = Gate(self._stack.mover)
            self._side = TierSide(
                partial(_open_owner, config, namespace, plan, gate),
                gate,
                chunk_tokens={
                    group.group_id: group.tokens_per_block * engine.cache.blocks_per_chunk for group in engine.groups
                },
                patience_s=config.patience_s,
                timeout_s=config.transfer_timeout_s,
                reset_evicts=config.reset_evicts,
            )
        except BaseException:
            self._stack.close()
            raise
        self._traffic = Traffic(self._stack.mover)
        _logger.info(
            "tiers are open", block_bytes=rows.layout.block_bytes, kept=self._stack.kept, primary=rows.capacity
        )

    def lookup(self, key: Any, req_context: Any) -> LookupResult:
        """See `TierSide.found`. Everything is known, so vLLM is never told to ask again."""
        return LookupResult.HIT if self._side.found(req_context.req_id, key) else LookupResult.MISS

    def submit_store(self, job_metadata: TransferJob) -> None:
        """See `TierSide.store`."""
        job = job_metadata
        self._side.store(job.job_id, job.req_context.req_id, job.keys, job.chunk_ids.tolist())

    def submit_load(self, job_metadata: TransferJob) -> None:
        """See `TierSide.load`."""
        job = job_metadata
        self._side.load(job.job_id, job.req_context.req_id, job.keys, job.chunk_ids.tolist())

    def get_finished_jobs(self) -> Iterable[JobResult]:
        """See `TierSide.finished`."""
        return [
            JobResult(
                job_id=result.number,
                success=result.is_whole,
                successful_keys=result.good or None,
                transfer_time=result.took_s,
                transfer_bytes=len(result.good) * self.block_size_bytes,
            )
            for result in self._side.finished()
        ]

    def has_pending_work(self) -> bool:
        """See `TierSide.is_busy`."""
        return self._side.is_busy

    def on_new_request(self, req_context: Any) -> RequestOffloadingContext:
        """See `TierSide.added`."""
        self._side.added(req_context.req_id, req_context._offload_key_positions)  # noqa: SLF001 - the only list of its chunks
        return RequestOffloadingContext()

    def on_request_finished(self, req_context: Any) -> None:
        """See `TierSide.ended`."""
        self._side.ended(req_context.req_id)

    def on_schedule_end(self, context: Any) -> None:  # noqa: ARG002 - vLLM's
        """See `TierSide.scheduled`."""
        self._side.scheduled()

    def drain_jobs(self) -> None:
        """See `TierSide.drain`. VLLM asks for it when it is about to empty its host memory."""
        self._side.drain()

    def shutdown(self) -> None:
        """Stop, and let go of vLLM's memory, which it is about to unmap."""
        try:
            self._side.close()
        except KvbmError as error:
            _logger.warning("the last events were not written", why=str(error))
        self._stack.close()

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, OffloadingMetricMetadata]:  # noqa: ARG003 - vLLM's
        """The connector's own four, by source and tier."""
        return {
            name: OffloadingCounterMetadata(documentation=text, labelnames=("source", "tier"))
            for name, text in METRICS.values()
        }

    def get_stats(self) -> OffloadingConnectorStats | None:
        """What was moved since the last time."""
        moved = self._traffic.take()
        stats = OffloadingConnectorStats()
        for path, numbers in moved.items():
            for field, (name, _) in METRICS.items():
                stats.increase_counter(name, numbers[field], tuple(path.split("_")))
        return stats if moved else None


def _open_owner(config: TierConfig, namespace: str, plan: list[TierSpec], gate: Gate) -> BlockManager:
    """The first one, or one that follows. Of vLLM's host memory nothing is known to it."""
    return BlockManager.open(
        config.nats,
        config.instance,
        namespace=namespace,
        tiers=plan,
        keep=[spec.tier for spec in config.plan],
        mover=gate,
        options=config.options,
        note="vllm tier",
        peers=config.following,
    )
