"""What vLLM calls: every method hands on to the scheduler's or the worker's side, and nothing is decided here."""

# pyright: reportMissingImports=false
# vLLM is not installed where types are checked

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorHandshakeMetadata,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)
from vllm.distributed.parallel_state import get_pp_group, get_tp_group
from vllm.v1.metrics.cache_hit_source import CacheHitSource

from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.connectors.vllm.adapters import Adapters
from kvbm_nats.connectors.vllm.config import ConnectorConfig, read_config
from kvbm_nats.connectors.vllm.groups import groups_of
from kvbm_nats.connectors.vllm.mover import EngineMover
from kvbm_nats.connectors.vllm.namespace import namespace_of
from kvbm_nats.connectors.vllm.orders import Orders, Told
from kvbm_nats.connectors.vllm.scheduler import SchedulerSide
from kvbm_nats.connectors.vllm.stats import KvbmPromMetrics, KvbmStats
from kvbm_nats.connectors.vllm.worker import WorkerSide
from kvbm_nats.manager import BlockManager
from kvbm_tiers import Slice
from kvbm_tiers.reports import Hello

LEGACY_STREAM = 1
"""`cudaStreamLegacy`, the default stream of a process that names no other; torch calls it 0."""
_SOURCES = {"g2": CacheHitSource.HOST, "g3": CacheHitSource.DISK, "g4": CacheHitSource.EXTERNAL_UNSPECIFIED}


@dataclass
class StepOrders(KVConnectorMetadata):
    """From the scheduler to all workers, with a step."""

    orders: Orders


@dataclass
class StepReports(KVConnectorWorkerMetadata):
    """From the workers to the scheduler, after a step."""

    told: list[Told]

    def aggregate(self, other: KVConnectorWorkerMetadata) -> KVConnectorWorkerMetadata:
        """The reports of several workers."""
        return StepReports(self.told + other.told)


@dataclass
class WorkerHello(KVConnectorHandshakeMetadata):
    """From a worker to the scheduler, before the first step."""

    hello: Hello


class KvbmConnector(KVConnectorBase_V1, SupportsHMA):
    """See `KVConnectorBase_V1`: one object in the scheduler's process, and one in each worker's."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        """Check what cannot be served, and serve nothing yet."""
        super().__init__(vllm_config, role, kv_cache_config)
        _refuse_what_cannot_be(vllm_config)
        self._groups = groups_of(kv_cache_config, vllm_config.cache_config.block_size)
        self._scheduler: SchedulerSide | None = None
        self._worker: WorkerSide | None = None
        self._pool: Any = None
        self._failed: set[int] = set()
        self._adapters = Adapters()

    @cached_property
    def _config(self) -> ConnectorConfig:
        parallel = self._vllm_config.parallel_config
        replica = f"-dp{parallel.data_parallel_index}" if parallel.data_parallel_size > 1 else ""
        return read_config(ConnectorConfig, self._kv_transfer_config.kv_connector_extra_config, replica=replica)

    @cached_property
    def _namespace(self) -> str:
        return namespace_of(self._vllm_config, self._config.tag, self._groups)

    @property
    def requires_kv_delivery(self) -> bool:
        """A cache: a block that was not saved is computed again."""
        return False

    # The worker's side

    def register_kv_caches(self, kv_caches: dict[str, Any]) -> None:
        """Open this rank's tiers over the engine's memory."""
        tp, pp = get_tp_group(), get_pp_group()
        part = Slice(tp=tp.world_size, pp=pp.world_size, tp_rank=tp.rank_in_group, pp_rank=pp.rank_in_group)
        stream = _compute_stream(next(iter(kv_caches.values()), None))
        self._worker = WorkerSide(self._config, kv_caches, namespace=self._namespace, part=part, compute_stream=stream)

    def get_handshake_metadata(self) -> KVConnectorHandshakeMetadata | None:
        """Tell the scheduler what this rank has kept."""
        return WorkerHello(self._worker.hello) if self._worker else None

    def bind_connector_metadata(self, connector_metadata: KVConnectorMetadata) -> None:
        """Begin what the step asks for: its sources were computed by the steps before, its destinations are nobody's."""
        super().bind_connector_metadata(connector_metadata)
        if self._worker:
            self._worker.take(connector_metadata.orders)

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """Nothing: what a step computes with is there before it is scheduled."""

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Nothing to wait for."""

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        """Nothing: blocks are saved whole, after the step that filled them."""

    def wait_for_save(self) -> None:
        """Nothing to wait for: the scheduler keeps the blocks until they are saved."""

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:  # noqa: ARG002 - vLLM's
        """Requests whose loads are over, well or not. With several groups vLLM is told by request what has failed."""
        if self._worker is None:
            return KVConnectorTransferResults()
        arrived, failed = self._worker.results()
        is_one = len(self._groups) == 1
        self._failed = {slot for slots in failed.values() for slot in slots} if is_one else set()
        return KVConnectorTransferResults(finished_recving=arrived, failed_recving=set() if is_one else {*failed})

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Blocks of these requests that vLLM must compute."""
        return self._failed

    def build_connector_worker_meta(self) -> KVConnectorWorkerMetadata | None:
        """What became of the jobs of this rank."""
        told = self._worker.tell() if self._worker else None
        return StepReports([told]) if told else None

    def get_kv_connector_stats(self) -> KvbmStats | None:
        """What this rank has moved since the last step."""
        moved = self._worker.traffic.take() if self._worker else {}
        return KvbmStats(data=moved) if moved else None

    def shutdown(self) -> None:
        """Close whichever side this is."""
        if self._scheduler:
            self._scheduler.close()
        if self._worker:
            self._worker.close()
        self._scheduler = self._worker = None

    # The scheduler's side

    def bind_gpu_block_pool(self, gpu_block_pool: Any) -> None:
        """Vllm's own blocks, which are held while they are copied."""
        self._pool = gpu_block_pool

    def set_xfer_handshake_metadata_pp_aware(
        self, metadata: dict[tuple[int, int], KVConnectorHandshakeMetadata]
    ) -> None:
        """All workers have opened their tiers: recover what the log says of them, and become their owner."""
        hellos = [metadata[rank].hello for rank in sorted(metadata)]
        config = self._config
        mover = EngineMover(self._namespace, hellos)
        self._scheduler = SchedulerSide(
            partial(self._open_owner, mover),
            mover,
            self._pool,
            block_tokens=self._vllm_config.cache_config.block_size,
            groups=self._groups,
            patience_s=config.patience_s,
        )

    def _open_owner(self, mover: EngineMover) -> BlockManager:
        """The first one, or one that follows. What workers do not have of what the log says, their memory's names tell."""
        config = self._config
        return BlockManager.open(
            config.nats,
            config.instance,
            namespace=self._namespace,
            tiers=[TierSpec(tier="g1", capacity=self._pool.num_gpu_blocks, control="observed"), *config.plan],
            keep=[spec.tier for spec in config.plan],
            mover=mover,
            options=config.options,
            note="vllm",
            peers=config.following,
        )

    def _side(self) -> SchedulerSide:
        if self._scheduler is None:
            raise RuntimeError("vLLM schedules before its workers have registered their KV caches")
        return self._scheduler

    def on_new_request(self, request: Any) -> None:
        """See `SchedulerSide.added`."""
        self._side().added(request, self._adapters.digest(request.lora_request))

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int | None, bool]:
        """See `SchedulerSide.found`. What is found is loaded beside the steps, never within one."""
        tokens = self._side().found(request, num_computed_tokens)
        return tokens, bool(tokens)

    def get_external_cache_hit_sources(self, request: Any, num_external_tokens: int) -> dict[CacheHitSource, int]:
        """Of what was found, how much comes from where."""
        left, sources = num_external_tokens, dict[CacheHitSource, int]()
        for tier, tokens in self._side().promised(request.request_id).items():
            taken = min(left, tokens)
            sources[_SOURCES[tier]] = sources.get(_SOURCES[tier], 0) + taken
            left -= taken
        return sources

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """See `SchedulerSide.admitted`."""
        self._side().admitted(request, blocks.get_block_ids(), num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        """See `SchedulerSide.step`."""
        return StepOrders(self._side().step(scheduler_output))

    def update_connector_output(self, connector_output: Any) -> None:
        """See `SchedulerSide.heard`."""
        reports = connector_output.kv_connector_worker_meta
        self._side().heard(
            reports.told if reports else (),
            connector_output.finished_recving or (),
            connector_output.invalid_block_ids or (),
            connector_output.failed_recving or (),
        )

    def request_finished_all_groups(
        self, request: Any, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        """See `SchedulerSide.finished`. VLLM may take the blocks back: those that are being copied are held."""
        self._side().finished(request, block_ids)
        return False, None

    def has_pending_block_frees(self) -> bool:
        """See `SchedulerSide.gives_way`."""
        return self._side().gives_way()

    def has_pending_push_work(self) -> bool:
        """See `SchedulerSide.is_busy`."""
        return self._side().is_busy

    def reset_cache(self) -> bool:
        """See `SchedulerSide.reset`."""
        return self._side().reset()

    # For vLLM's metrics

    @classmethod
    def build_kv_connector_stats(cls, data: dict[str, Any] | None = None) -> KvbmStats:
        """See `KvbmStats`."""
        return KvbmStats(data=data or {})

    @classmethod
    def build_prom_metrics(
        cls, vllm_config: Any, metric_types: Any, labelnames: list[str], per_engine_labelvalues: Any
    ) -> KvbmPromMetrics:
        """See `KvbmPromMetrics`."""
        return KvbmPromMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues)


def _compute_stream(tensor: Any) -> int:
    """The CUDA stream in which vLLM computes, as `CudaDevice` takes it; 0 where there is none."""
    if tensor is None or tensor.device.type != "cuda":
        return 0
    return int(torch.cuda.current_stream(tensor.device).cuda_stream) or LEGACY_STREAM


def _refuse_what_cannot_be(vllm_config: Any) -> None:
    transfer, parallel = vllm_config.kv_transfer_config, vllm_config.parallel_config
    if transfer.kv_load_failure_policy != "recompute":
        raise InvalidCommand(
            f"kv_load_failure_policy {transfer.kv_load_failure_policy!r}",
            why="a block that is lost or damaged would fail the request, and can be computed",
            hint='"kv_load_failure_policy": "recompute"',
        )
    if vllm_config.speculative_config is not None:
        raise InvalidCommand("speculative decoding", why="blocks of rejected tokens are not told apart, as yet")
    if max(parallel.decode_context_parallel_size, parallel.prefill_context_parallel_size) > 1:
        raise InvalidCommand(
            "context parallelism", why="a block's tokens lie in several ranks, which is not served, as yet"
        )
    if not vllm_config.cache_config.enable_prefix_caching:
        raise InvalidCommand(
            "prefix caching is off", why="without it blocks have no hash", hint="enable_prefix_caching"
        )
