"""A vLLM engine in a process of its own: one JSON command a line on its standard input, one answer a line on its output.

    python vllm_engine.py MODEL OPTIONS

OPTIONS is a JSON object of arguments of `vllm.LLM`. The engine runs in this process, so that its connector can be asked.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}

sys.path.append(str(Path(__file__).parents[2] / "bench"))  # where `stock_offload` is

from vllm import LLM, SamplingParams
from vllm.config import KVTransferConfig
from vllm.distributed.kv_transfer import get_kv_transfer_group
from vllm.lora.request import LoRARequest
from vllm.v1.request import Request

from kvbm_nats.connectors.vllm.tiering.side import TierSide
from kvbm_nats.connectors.vllm.tracked import key_in

DRAIN_S = 30.0


class Engine:
    """See the module: a method a command."""

    def __init__(self, model, options):
        if transfer := options.pop("kv_transfer_config", None):
            options["kv_transfer_config"] = KVTransferConfig(**transfer)
        defaults = {
            "dtype": "bfloat16",
            "enforce_eager": True,
            "max_model_len": 2048,
            "block_size": 32,
            "max_num_seqs": 64,
            "max_num_batched_tokens": 2048,
            "enable_prefix_caching": True,
            "seed": 0,
            "disable_log_stats": False,
        }
        self.llm = LLM(model=model, **defaults | options)
        self.core = self.llm.llm_engine.engine_core.engine_core
        connector = self.core.scheduler.connector
        self.side = _side(connector) if connector else None

    def generate(self, prompts, max_tokens=8, salt=None, adapter=None):
        """Run prompts side by side; with a LoRA adapter, which is its name, number and folder."""
        params = SamplingParams(max_tokens=max_tokens, temperature=0, ignore_eos=True, logprobs=2)
        started = time.perf_counter()
        asked = [{"prompt_token_ids": ids} | ({"cache_salt": salt} if salt else {}) for ids in prompts]
        lora = LoRARequest(*adapter) if adapter else None
        outputs = self.llm.generate(asked, params, use_tqdm=False, lora_request=lora)
        return {"outputs": [_said(output) for output in outputs], "seconds": time.perf_counter() - started}

    def crowd(self, prompts, max_tokens, abort_at):
        """Run prompts side by side and abort some: by number, after so many tokens of output, 0 for at once."""
        engine = self.llm.llm_engine
        ids, done, said = {}, {}, {}
        for number, (prompt, limit) in enumerate(zip(prompts, max_tokens, strict=True)):
            params = SamplingParams(max_tokens=limit, temperature=0, ignore_eos=True, logprobs=2)
            ids[f"crowd-{number}"] = engine.add_request(f"crowd-{number}", {"prompt_token_ids": prompt}, params)
        abort_at = {int(number): after for number, after in abort_at.items()}
        self._abort([number for number, after in abort_at.items() if not after], ids)
        while engine.has_unfinished_requests():
            for output in engine.step():
                number = int(output.request_id.split("-")[1])
                said[number] = len(output.outputs[0].token_ids)
                if output.finished:
                    done[number] = _said(output)
                elif number in abort_at and said[number] >= abort_at[number] > 0:
                    self._abort([number], ids)
        return {"outputs": {number: done[number] for number in sorted(done) if number not in abort_at}}

    def _abort(self, numbers, ids):
        self.llm.llm_engine.abort_request([ids[f"crowd-{number}"] or f"crowd-{number}" for number in numbers])

    def drain(self):
        """Step until nothing is left to do, as an engine in a process of its own does by itself."""
        steps, end = 0, time.monotonic() + DRAIN_S
        while self.core.scheduler.has_requests() and time.monotonic() < end:
            self.llm.llm_engine.step()
            steps += 1
        return {"steps": steps, "is_drained": not self.core.scheduler.has_requests()}

    def reset(self, *, external=False):
        """Empty vLLM's own cache; with `external`, ours too."""
        return {"ok": self.llm.reset_prefix_cache(reset_connector=external)}

    def status(self):
        """What the owner says of its state."""
        manager = self._owner
        if manager is None:
            return {"is_serving": False}
        manager.flush()
        status = manager.status(with_digest=True)
        return {
            "is_serving": True,
            "integrity": manager.check_integrity(),
            "requests": status.requests,
            "transfers": status.transfers,
            "events": status.events,
            "evicted": status.evicted,
            "digest": status.digest,
            "epoch": status.epoch,
            "n": status.n,
            "registered": {tier.tier: tier.registered for tier in status.tiers},
            "slots": {tier.tier: [tier.allocated, tier.condemned, tier.quarantined] for tier in status.tiers},
            **_held(self.side),
            "preemptions": self._metric("vllm:num_preemptions"),
        }

    def follow(self, peer, blocks):
        """Wait until the owner knows of so many blocks of a peer."""
        end = time.monotonic() + DRAIN_S
        while True:
            known = {each.name: each.blocks for each in self._owner.peers.status()}
            if known.get(peer) == blocks or time.monotonic() > end:
                return {"blocks": known.get(peer)}
            time.sleep(0.01)

    def groups(self):
        """Blocks in the window of each KV-cache group, 0 for all."""
        return {"windows": [group.window for group in self.side._groups]}

    def slots(self, tokens, tier, group=0, last=0):
        """The slots of a prompt's blocks in a tier; in a KV-cache group other than the first, those of the last blocks."""
        params = SamplingParams(max_tokens=1)
        request = Request("asked", tokens, params, None, block_hasher=self.core.request_block_hasher)
        step = self.core.scheduler.vllm_config.kv_transfer_config.kv_connector_extra_config.get("blocks_per_chunk", 1)
        keys = [each[:16].hex() for each in request.block_hashes[step - 1 :: step]]
        if group:
            keys = [key_in(each, group) for each in request.block_hashes[-last:]]
        return {"slots": [slot for key in keys for slot in self._owner.resident([key], tier)]}

    def damage_device(self, tokens, block, **where):
        """Put the bytes of another block of a prompt into one of vLLM's own."""
        slots = self.slots(tokens, "g1", **where)["slots"]
        device = get_kv_transfer_group()._worker._stack.stores["g1"]
        bytes_of_one = memoryview(bytearray(device.layout.slot_bytes))
        device.read(slots[block + 1], bytes_of_one)
        device.write(slots[block], bytes_of_one)
        return {}

    def metrics(self):
        """VLLM's own numbers that speak of us."""
        names = ("external", "kvbm", "by_source", "tiering")
        return {
            f"{each.name}{sorted(each.labels.items())}": each.value
            for each in self.llm.get_metrics()
            if any(name in each.name for name in names) and hasattr(each, "value")
        }

    @property
    def _owner(self):
        return self.side.manager if isinstance(self.side, TierSide) else self.side._manager

    def _metric(self, name):
        return sum(each.value for each in self.llm.get_metrics() if each.name == name)

    def quit(self):
        """Close as vLLM does."""
        self.core.shutdown()
        return {}


def _side(connector):
    """Ours behind a connector: our own, or our tier under vLLM's."""
    stock = getattr(connector, "connector_scheduler", None)
    return stock.manager.secondary_tiers[0]._side if stock else connector._scheduler


def _held(side):
    """What is held for requests and copies, which is nothing when there are none."""
    if isinstance(side, TierSide):
        return {"pinned": len(side._gate._given) + len(side._gate._moving), "tracked": len(side._prompts)}
    return {"pinned": side._pins.blocks, "tracked": len(side._tracked)}


def _said(output):
    completion = output.outputs[0]
    best = [sorted((each.logprob for each in two.values()), reverse=True) for two in completion.logprobs or ()]
    return {
        "tokens": list(completion.token_ids),
        "logprobs": [first for first, *_ in best],
        "margins": [first - second for first, second, *_ in best],
        "cached": output.num_cached_tokens,
    }


def main(model, options):
    """Obey until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed here is no answer
    engine = Engine(model, json.loads(options))
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(engine, command.pop("do"))(**command)
        except Exception as error:  # noqa: BLE001 - the test is told
            traceback.print_exc()
            answer = {"error": repr(error)}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
