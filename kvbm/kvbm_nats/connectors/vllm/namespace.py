"""The namespace of an engine's blocks: all that must agree before another engine may read them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.connectors.vllm.groups import ONE, Group


def namespace_of(vllm_config: Any, tag: str, groups: Sequence[Group] = ONE) -> str:
    """As `field=value;…`, from vLLM's configuration. LoRA adapters, images and salts are in the keys already.

    Raises:
        InvalidCommand: the engine's hashes are made with a random seed, so that no other process could find its blocks.
    """
    model, cache, parallel = vllm_config.model_config, vllm_config.cache_config, vllm_config.parallel_config
    algorithm, seed = str(cache.prefix_caching_hash_algo), os.environ.get("PYTHONHASHSEED", "")
    if algorithm.startswith("xxhash") and not seed:
        raise InvalidCommand(
            f"prefix_caching_hash_algo {algorithm}",
            why="its first hash is random in every process",
            hint="set PYTHONHASHSEED for all engines alike, or use sha256_cbor",
        )
    fields = {
        "model": model.model,
        "revision": model.revision,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "kv": cache.cache_dtype,
        "block": cache.block_size,
        "tp": parallel.tensor_parallel_size,
        "pp": parallel.pipeline_parallel_size,
        "hash": algorithm,
        "seed": seed,
        "tag": tag,
        "groups": "+".join(str(group.window) for group in groups) if tuple(groups) != ONE else None,
    }
    return _written(fields)


def namespace_of_offload(offload: Any, tag: str) -> str:
    """The same from vLLM's `OffloadingConfig`, for chunks in the order of its host memory.

    That says nothing of revisions, weights' quantization and the hash function. The first two are for the tag; where functions
    differ, so do their keys.
    """
    parallel = offload.parallel
    fields = {
        "engine": "vllm-offload",
        "model": offload.model.name,
        "kv": offload.model.dtype,
        "block": "+".join(str(group.tokens_per_block) for group in offload.groups),
        "chunk": offload.cache.blocks_per_chunk,
        "layers": "+".join(str(len(group.layer_names)) for group in offload.groups),
        "layout": "canonical" if offload.canonical_layout else offload.kv_cache_layout,
        "tp": parallel.tp_size,
        "pp": parallel.pp_size,
        "cp": f"{parallel.pcp_size}x{parallel.dcp_size}",
        "replicated": "yes" if offload.replicated_layout else None,
        "seed": os.environ.get("PYTHONHASHSEED", ""),
        "tag": tag,
    }
    return _written(fields)


def _written(fields: dict[str, Any]) -> str:
    return ";".join(f"{name}={_plain(value)}" for name, value in fields.items() if value not in {None, ""})


def _plain(value: object) -> str:
    return str(value).replace(";", ",").replace("=", ":")
