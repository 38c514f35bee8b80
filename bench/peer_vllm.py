"""vLLM's BlockPool, for bench_machine: runs in vLLM's interpreter and answers one question a line (see harness.Peer).

A question names the kind of round, the slots, the batch, whether events are made, and what else that kind of round takes
(see machine_round); the answer is ns a block by operation.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from stopwatch import Stopwatch, settle

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# A BlockPool needs none of these, and in a CPU install they often do not load, which would end the import of vLLM.
for module in ("torchvision", "torchaudio", "torchcodec"):
    sys.modules[module] = None  # type: ignore[assignment] # which makes importing it fail at once

import msgspec  # noqa: E402 - after what vLLM's import depends on
import vllm  # type: ignore[import-not-found] # noqa: E402 - the same
from vllm.distributed.kv_events import KVEventBatch  # type: ignore[import-not-found] # noqa: E402 - the same
from vllm.utils.hashing import sha256  # type: ignore[import-not-found] # noqa: E402 - the same
from vllm.v1.core import kv_cache_utils  # type: ignore[import-not-found] # noqa: E402 - the same
from vllm.v1.core.block_pool import BlockPool  # type: ignore[import-not-found] # noqa: E402 - the same

BLOCK_TOKENS = 16
_GROUPS = [0]
_encode = msgspec.msgpack.Encoder().encode


class Round:
    """A new pool, and the calls with their timing: what machine_round does, in vLLM's words."""

    def __init__(self, slots: int, batch: int, *, events: bool) -> None:
        self.slots, self.batch, self.events = slots, batch, events
        self.watch = Stopwatch()
        self.pool = BlockPool(slots + 1, True, BLOCK_TOKENS, enable_kv_cache_events=events)  # noqa: FBT003 - vLLM's own
        self._chance = random.Random(slots + batch)

    def hashes(self, count: int) -> list[bytes]:
        """Hashes that were never seen before."""
        return [self._chance.randbytes(32) for _ in range(count)]

    def run_fresh(self, count: int, max_missed: int) -> dict[str, float]:
        """See machine_round."""
        requests = [_request(self.hashes(self.batch)) for _ in range(count)]
        missed = [self.hashes(self.batch) for _ in range(max(1, min(count, max_missed // self.batch)))]
        settle()
        held = self._allocate("allocate", count)
        self._use(requests, held)
        self._miss(missed)
        for _ in range(self.slots // self.batch - count):
            self._cache_one(self.hashes(self.batch))
        self._check_all_cached()
        self._allocate("allocate_evict", count)
        removed = self.pool.take_events()
        if self.events:
            steps = [removed[at : at + self.batch] for at in range(0, len(removed), self.batch)]
            self.watch.time("encode_evicted", count * self.batch, _encode_step, steps)
        return self.watch.took_ns

    def run_lived_in(self, count: int, together: int, prompt: int) -> dict[str, float]:
        """See machine_round."""
        requests = [_request(self.hashes(self.batch)) for _ in range(count)]
        grown = [self.hashes(self.batch) for _ in range((self.slots - prompt) // self.batch)]
        shared = self.hashes(prompt)
        settle()
        self._cache_one(shared)
        took_ns = 0.0
        for first in range(0, len(grown), together):
            took_ns += self._grow(shared, grown[first : first + together])
        self.watch.took_ns["grow"] = took_ns / (len(grown) * self.batch)
        self._check_all_cached()
        held = self._allocate("allocate_evict", count)
        self._use(requests, held)
        return self.watch.took_ns

    def _allocate(self, operation: str, count: int) -> list[Any]:
        self.pool.take_events()
        return self.watch.time_answers(operation, count * self.batch, self.pool.get_new_blocks, [self.batch] * count)

    def _use(self, requests: list[Any], held: list[Any]) -> None:
        pool, watch, blocks = self.pool, self.watch, len(held) * self.batch
        pool.take_events()
        watch.time("register", blocks, self._cache_all, list(zip(requests, held, strict=True)))
        stored = pool.take_events()
        watch.time("release_registered", blocks, self._free, held)
        asked = [request.block_hashes for request in requests]
        found = watch.time_answers("look_up", blocks, self._look_up_prefix, asked)
        assert found == held
        watch.time("touch", blocks, pool.touch, found)
        watch.took_ns["match_hit"] = watch.took_ns["look_up"] + watch.took_ns["touch"]
        watch.time("release_matched", blocks, self._free, held)
        if self.events:
            watch.time("encode_registered", blocks, _encode_step, [[event] for event in stored])

    def _miss(self, missed: list[list[bytes]]) -> None:
        asked = len(missed) * self.batch
        every = self.watch.time_answers("match_miss", asked, self._look_up, missed)
        assert not any(any(cached) for cached in every)
        assert not any(self.watch.time_answers("match_miss_first", asked, self._look_up_prefix, missed))

    def _grow(self, shared: list[bytes], hashes: list[list[bytes]]) -> float:
        prompt = self._look_up_prefix(shared)
        growing = [(_request([*shared, *own]), list(prompt), iter(own)) for own in hashes]
        for request, _, _ in growing:
            self.pool.touch(prompt)
            del request.block_hashes[len(shared) :]  # an engine appends one when a block is full
        watch = Stopwatch()
        watch.time("grow", 1, self._grow_by_one, growing * self.batch)
        for _, blocks, _ in growing:
            self._free(blocks)
        self.pool.take_events()
        return watch.took_ns["grow"]

    def _grow_by_one(self, growing: tuple[Any, list[Any], Iterator[bytes]]) -> None:
        request, blocks, hashes = growing
        request.block_hashes.append(next(hashes))
        full = len(blocks)
        blocks += self.pool.get_new_blocks(1)
        self.pool.cache_full_blocks(request, blocks, full, full + 1, BLOCK_TOKENS, 0)

    def _cache_one(self, hashes: list[bytes]) -> None:
        blocks = self.pool.get_new_blocks(len(hashes))
        self._cache_all((_request(hashes), blocks))
        self._free(blocks)

    def _cache_all(self, filled: tuple[Any, list[Any]]) -> None:
        request, blocks = filled
        self.pool.cache_full_blocks(request, blocks, 0, len(blocks), BLOCK_TOKENS, 0)

    def _free(self, blocks: list[Any]) -> None:
        self.pool.free_blocks(reversed(blocks))

    def _look_up(self, hashes: list[bytes]) -> list[Any]:
        return [self.pool.get_cached_block(block_hash, _GROUPS) for block_hash in hashes]

    def _look_up_prefix(self, hashes: list[bytes]) -> list[Any]:
        found = []
        for block_hash in hashes:
            cached = self.pool.get_cached_block(block_hash, _GROUPS)
            if cached is None:
                break
            found.append(cached[0])
        return found

    def _check_all_cached(self) -> None:
        assert self.pool.get_num_free_blocks() == self.slots == len(self.pool.cached_block_hash_to_block)


def _request(hashes: list[bytes]) -> SimpleNamespace:
    """What a BlockPool looks at of a request."""
    return SimpleNamespace(
        block_hashes=hashes,
        all_token_ids=[1] * (len(hashes) * BLOCK_TOKENS),
        lora_request=None,
        mm_features=None,
        cache_salt=None,
        prompt_embeds=None,
        session_id=None,
    )


def _encode_step(events: list[Any]) -> bytes:
    """What vLLM's publisher sends for the events of one scheduler step."""
    return _encode(KVEventBatch(ts=0.0, events=events))


def _answer(question: dict[str, Any]) -> dict[str, float]:
    measured = Round(question.pop("slots"), question.pop("batch"), events=question.pop("events"))
    if question.pop("kind") == "fresh":
        return measured.run_fresh(**question)
    return measured.run_lived_in(**question)


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints must not get between the answers
    kv_cache_utils.init_none_hash(sha256)
    print(json.dumps({"name": f"vLLM {vllm.__version__} BlockPool"}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
