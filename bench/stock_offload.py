"""What vLLM's own OffloadingConnector lacks on a machine without a GPU: a worker that copies between its pages and host memory.

Everything else is vLLM's: its scheduler's half, its manager and eviction, its tiers. The copies are one call of torch a layer.
"""

# ruff: noqa: ANN001 - the signatures are vLLM's
# mypy: disable-error-code="import-not-found,misc,no-untyped-def,no-untyped-call"
# it runs in vLLM's interpreter, and its bases are vLLM's

from __future__ import annotations

import time

import numpy as np
import torch
from vllm.v1.kv_offload.base import OffloadingWorker, TransferResult
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


class HostCopies(OffloadingWorker):
    """Copies whole blocks, at once."""

    def __init__(self, caches, chunk_blocks: int, region: SharedOffloadRegion) -> None:
        """Chunks of `chunk_blocks` blocks each lie in the region."""
        self._chunk_blocks, self._region = chunk_blocks, region
        self._pages = [each.tensor.view(torch.int8).view(-1, each.page_size_bytes) for each in caches.tensors]
        sizes = [each.page_size_bytes for each in caches.tensors]
        views = [region.create_next_worker_view(size * chunk_blocks) for size in sizes]
        self._chunks = [view.unflatten(1, (chunk_blocks, size)) for view, size in zip(views, sizes, strict=True)]
        self._groups = caches.group_data_refs
        self._done: list[TransferResult] = []

    def submit_store(self, job_id, src_spec, dst_spec) -> bool:
        """From vLLM's pages."""
        return self._copy(job_id, src_spec, dst_spec.block_ids, is_store=True)

    def submit_load(self, job_id, src_spec, dst_spec) -> bool:
        """To vLLM's pages."""
        return self._copy(job_id, dst_spec, src_spec.block_ids, is_store=False)

    def get_finished(self) -> list[TransferResult]:
        """What was copied."""
        done, self._done = self._done, []
        return done

    def wait(self, job_ids) -> None:
        """Nothing: it is done."""

    def shutdown(self) -> None:
        """Let go of the region."""
        self._chunks.clear()
        self._region.cleanup()

    def _copy(self, job_id, pages, chunks, *, is_store: bool) -> bool:
        started, size_bytes, page_at, chunk_at = time.perf_counter(), 0, 0, 0
        for group, (count, first) in enumerate(zip(pages.group_sizes, pages.block_indices, strict=True)):
            if not count:
                continue
            skip = first % self._chunk_blocks
            used = -(-(count + skip) // self._chunk_blocks)
            rows = torch.from_numpy(pages.block_ids[page_at : page_at + count].astype(np.int64))
            own = torch.from_numpy(np.asarray(chunks[chunk_at : chunk_at + used], dtype=np.int64))
            places = torch.arange(count) + skip
            page_at, chunk_at = page_at + count, chunk_at + used
            for reference in self._groups[group]:
                here, there = self._pages[reference.tensor_idx], self._chunks[reference.tensor_idx]
                at = own[places // self._chunk_blocks], places % self._chunk_blocks
                if is_store:
                    there[at] = here[rows]
                else:
                    here[rows] = there[at]
                size_bytes += count * here.shape[1]
        self._done.append(TransferResult(job_id, True, size_bytes, time.perf_counter() - started))  # noqa: FBT003 - vLLM's
        return True


class HostTiers(TieringOffloadingSpec):
    """Host memory, and vLLM's own tiers below it."""

    def get_worker(self, kv_caches) -> HostCopies:
        """The stock one asks for a GPU."""
        if not self._worker:
            region = SharedOffloadRegion(
                engine_id=self._engine_id,
                num_chunks=self.num_chunks,
                rank=self.config.parallel.rank,
                kv_bytes_per_chunk=self.kv_bytes_per_chunk,
                cpu_page_size=self.cpu_page_size_per_worker,
            )
            self._worker = HostCopies(kv_caches, self.blocks_per_chunk, region)
        return self._worker
