"""A vLLM engine on a CPU, for bench_engine: runs in vLLM's interpreter and answers one question a line (see harness.Peer).

The first question starts the engine: `kind` is `kvbm`, `stock` (vLLM's OffloadingConnector with host memory and its `fs` tier),
`tier` (the same with our tier for `fs`) or `bare`, with the folders of the model and of tiers. Then each asks for a round.
"""

# mypy: disable-error-code="import-not-found"
# it runs in vLLM's interpreter

from __future__ import annotations

import json
import os
import random
import sys
import time
from typing import Any

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}

from vllm import LLM, SamplingParams
from vllm.config import KVTransferConfig

BLOCK_TOKENS = 32
HOST_BYTES = 1 << 29
BLOCK_BYTES = 1 << 19
VOCABULARY = 4096
DRAIN_S = 60.0
STREAMS = 16


class Engine:
    """See the module."""

    def __init__(self, kind: str, model: str, folder: str, url: str) -> None:
        self.kind = kind
        more = {} if kind == "bare" else {"kv_transfer_config": KVTransferConfig(**_transfer(kind, folder, url))}
        self.llm = LLM(
            model=model,
            dtype="bfloat16",
            enforce_eager=True,
            max_model_len=8448,
            block_size=BLOCK_TOKENS,
            max_num_seqs=STREAMS,
            max_num_batched_tokens=8448,
            seed=0,
            disable_log_stats=True,
            **more,
        )
        self.core = self.llm.llm_engine.engine_core.engine_core
        self.say(_prompt(64, 0))

    def first_token(self, tokens: int, seed: int) -> dict[str, float]:
        """Seconds to the first token of one prompt: cold, from vLLM's own cache, from the host, and from disk."""
        ids = _prompt(tokens, seed)
        found = {"cold": self.say(ids, cached=0)}
        self._drain()
        whole = (tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS
        found["local"] = self.say(ids, cached=whole)
        self._empty()
        found["host"] = self.say(ids, cached=whole)
        self._empty(host=True)
        found["disk"] = self.say(ids, cached=whole)
        self._empty()
        return found

    def fill(self, fill: int, seed: int) -> dict[str, float]:
        """Compute a prompt, and wait until it has gone down to disk."""
        self.say(_prompt(fill, seed), cached=0)
        self._drain()
        return {}

    def again(self, again: int, seed: int) -> dict[str, float]:
        """Seconds to the first token of a prompt that an engine before this one has filled."""
        found = {"disk": self.say(_prompt(again, seed), cached=(again - 1) // BLOCK_TOKENS * BLOCK_TOKENS)}
        self._drain()
        return found

    def throughput(self, seed: int) -> dict[str, float]:
        """Tokens a second, of prompts that share nothing."""
        prompts = [{"prompt_token_ids": _prompt(512, seed * STREAMS + at)} for at in range(STREAMS)]
        started = time.perf_counter()
        self.llm.generate(prompts, SamplingParams(max_tokens=32, temperature=0, ignore_eos=True), use_tqdm=False)
        taken = time.perf_counter() - started
        self._empty()
        return {"tokens_per_s": STREAMS * (512 + 32) / taken}

    def say(self, ids: list[int], cached: int | None = None) -> float:
        """One token; how long that took."""
        started = time.perf_counter()
        params = SamplingParams(max_tokens=1, temperature=0, ignore_eos=True)
        (output,) = self.llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
        taken = time.perf_counter() - started
        assert cached is None or output.num_cached_tokens >= cached, (output.num_cached_tokens, cached)
        return taken

    def _drain(self) -> None:
        end = time.monotonic() + DRAIN_S
        while self.core.scheduler.has_requests():
            assert time.monotonic() < end, "copies do not end"
            self.llm.llm_engine.step()

    def _empty(self, *, host: bool = False) -> None:
        """Empty vLLM's own cache; with `host`, the host memory below it, and nothing below that."""
        self._drain()
        if host and self.kind == "kvbm":
            owner = self.core.scheduler.connector._scheduler._manager  # noqa: SLF001 - nobody else evicts one tier
            assert owner.settle()
            owner.flush()
            owner.evict([*owner.state.tiers["g2"].lineage.index], tier="g2")
        assert self.llm.reset_prefix_cache(reset_connector=host and self.kind == "stock")


def _transfer(kind: str, folder: str, url: str) -> dict[str, Any]:
    if kind == "kvbm":
        extra: dict[str, Any] = {
            "nats": url,
            "instance": "bench",
            "tiers": f"g2={HOST_BYTES // BLOCK_BYTES},g3={8 * HOST_BYTES // BLOCK_BYTES}",
            "stores": {"g2": f"arena:{folder}/shared", "g3": f"slab:{folder}/disk"},
        }
        return {
            "kv_connector": "KvbmConnector",
            "kv_role": "kv_both",
            "kv_load_failure_policy": "recompute",
            "kv_connector_extra_config": extra,
        }
    extra = {
        "spec_name": "HostTiers",
        "spec_module_path": "stock_offload",
        "cpu_bytes_to_use": HOST_BYTES,
        "secondary_tiers": [_below(folder, url) if kind == "tier" else {"type": "fs", "root_dir": f"{folder}/disk"}],
    }
    return {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": extra}


def _below(folder: str, url: str) -> dict[str, Any]:
    return {
        "type": "KvbmTier",
        "module_path": "kvbm_nats.connectors.vllm.tier",
        "nats": url,
        "instance": "bench-tier",
        "tiers": f"g3={8 * HOST_BYTES // BLOCK_BYTES}",
        "stores": {"g3": f"slab:{folder}/disk"},
    }


def _prompt(tokens: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(10, VOCABULARY) for _ in range(tokens)]


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever vLLM prints is no answer
    engine: Engine | None = None
    answers.write(json.dumps({"name": "vLLM"}) + "\n")
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, float] = {}
        if engine is None:
            engine = Engine(**question)
        elif "tokens" in question:
            answer = engine.first_token(**question)
        elif "fill" in question:
            answer = engine.fill(**question)
        elif "again" in question:
            answer = engine.again(**question)
        else:
            answer = engine.throughput(**question)
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
