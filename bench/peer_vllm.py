"""vLLM's BlockPool, for bench_machine: runs in vLLM's interpreter and answers one question a line (see harness.Peer).

A question is `{"slots": …, "batch": …, "events": …, "max_batches": …, "max_missed": …}`, an answer ns a block by operation.
"""

from __future__ import annotations

import json
import os
import random
import sys
from types import SimpleNamespace
from typing import Any

from stopwatch import Stopwatch, settle

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# A BlockPool needs none of these, and in a CPU install they often do not load, which would end the import of vLLM.
sys.modules.update(dict.fromkeys(("torchvision", "torchaudio", "torchcodec")))

import msgspec  # noqa: E402 - after what vLLM's import depends on
import vllm  # type: ignore[import-not-found] # noqa: E402 - the same
from vllm.distributed.kv_events import KVEventBatch  # type: ignore[import-not-found] # noqa: E402 - the same
from vllm.utils.hashing import sha256  # type: ignore[import-not-found] # noqa: E402 - the same
from vllm.v1.core import kv_cache_utils  # type: ignore[import-not-found] # noqa: E402 - the same
from vllm.v1.core.block_pool import BlockPool  # type: ignore[import-not-found] # noqa: E402 - the same

BLOCK_TOKENS = 16
_GROUPS = [0]
_encode = msgspec.msgpack.Encoder().encode


def measure(slots: int, batch: int, max_batches: int, max_missed: int, *, events: bool) -> dict[str, float]:
    """One round over a new pool: ns a block by operation."""
    chance = random.Random(slots + batch)
    count = min(slots // batch, max_batches)
    blocks = count * batch
    pool = BlockPool(slots + 1, True, BLOCK_TOKENS, enable_kv_cache_events=events)  # noqa: FBT003 - vLLM's signature
    hashes = [[chance.randbytes(32) for _ in range(batch)] for _ in range(count)]
    missed = [[chance.randbytes(32) for _ in range(batch)] for _ in range(max(1, min(count, max_missed // batch)))]
    requests = [_request(batch, seed, of_request) for seed, of_request in enumerate(hashes)]
    watch = Stopwatch()
    settle()

    def look_up(keys: list[bytes]) -> list[Any]:
        return [pool.get_cached_block(key, _GROUPS) for key in keys]

    def look_up_prefix(keys: list[bytes]) -> list[Any]:
        found = []
        for key in keys:
            cached = pool.get_cached_block(key, _GROUPS)
            if cached is None:
                break
            found.append(cached[0])
        return found

    def cache(pair: tuple[Any, Any]) -> None:
        pool.cache_full_blocks(pair[0], pair[1], 0, batch, BLOCK_TOKENS, 0)

    def free(held: list[Any]) -> None:
        pool.free_blocks(reversed(held))

    held = watch.time("allocate", blocks, pool.get_new_blocks, [batch] * count)
    watch.time("register", blocks, cache, list(zip(requests, held, strict=True)))
    stored = pool.take_events()
    watch.time("release_registered", blocks, free, held)
    found = watch.time("look_up", blocks, look_up_prefix, hashes)
    assert found == held
    watch.time("touch", blocks, pool.touch, found)
    watch.took_ns["match_hit"] = watch.took_ns["look_up"] + watch.took_ns["touch"]
    watch.time("release_matched", blocks, free, held)
    asked = len(missed) * batch
    assert not any(any(cached) for cached in watch.time("miss_every", asked, look_up, missed))
    assert not any(watch.time("miss_first", asked, look_up_prefix, missed))
    _fill(pool, slots - blocks, batch, chance)
    pool.take_events()
    assert pool.get_num_free_blocks() == slots == len(pool.cached_block_hash_to_block)
    watch.time("allocate_evict", blocks, pool.get_new_blocks, [batch] * count)
    assert len(pool.cached_block_hash_to_block) == slots - blocks
    removed = pool.take_events()
    if events:
        steps = [removed[at : at + batch] for at in range(0, len(removed), batch)]
        watch.time("encode_registered", blocks, _encode_step, [[event] for event in stored])
        watch.time("encode_evicted", blocks, _encode_step, steps)
    return watch.took_ns


def _fill(pool: Any, blocks: int, batch: int, chance: random.Random) -> None:  # noqa: ANN401 - vLLM's types are not here
    """Cache further batches until nothing is left that holds no block."""
    for seed in range(blocks // batch):
        got = pool.get_new_blocks(batch)
        request = _request(batch, seed, [chance.randbytes(32) for _ in range(batch)])
        pool.cache_full_blocks(request, got, 0, batch, BLOCK_TOKENS, 0)
        pool.free_blocks(reversed(got))


def _request(blocks: int, seed: int, hashes: list[bytes]) -> SimpleNamespace:
    """What a BlockPool looks at of a request."""
    return SimpleNamespace(
        block_hashes=hashes,
        all_token_ids=[seed] * (blocks * BLOCK_TOKENS),
        lora_request=None,
        mm_features=None,
        cache_salt=None,
        prompt_embeds=None,
        session_id=None,
    )


def _encode_step(events: list[Any]) -> bytes:
    """What vLLM's publisher sends for the events of one scheduler step."""
    return _encode(KVEventBatch(ts=0.0, events=events))


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints must not get between the answers
    kv_cache_utils.init_none_hash(sha256)
    print(json.dumps({"name": f"vLLM {vllm.__version__} BlockPool"}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
