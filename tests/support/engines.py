"""A real vLLM engine, in a process of its own and with a Python of its own, to be asked and to be killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import nats

from kvbm_events.codec import decode
from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema import AnyEvent
from kvbm_nats.nats_server import NatsServer
from kvbm_nats.replay import verify
from kvbm_nats.replay.verify import Claim, Verdict

PYTHON_ENV = "KVBM_ENGINE_PYTHON"
"""The interpreter of an environment that has vLLM and this project: `.ci/engines` makes one."""
PROCESSES = Path(__file__).parents[1] / "processes"
START_TIMEOUT_S = 170.0
TIMEOUT_S = 120.0
VOCABULARY = 4096
BLOCK_TOKENS = 32
SLOT_BYTES = 65536
"""Of the tiny model's block."""
NOISE = 0.3
"""In logprobs; bytes of another block make several times as much."""


def prompt(tokens: int, seed: int) -> list[int]:
    """Random tokens."""
    dice = random.Random(seed)
    return [dice.randrange(10, VOCABULARY) for _ in range(tokens)]


def window_model(folder: Path) -> Path:
    """A model whose layers attend to 128 tokens, but for two of six, without weights: `load_format` is `dummy`."""
    layers = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    config = {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": len(layers),
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "sliding_window": 128,
        "layer_types": layers,
        "query_pre_attn_scalar": 64,
        "torch_dtype": "bfloat16",
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def transfer_config(
    url: str, instance: str, folder: Path, *, tiers: str = "g2=256,g3=512", **more: Any
) -> dict[str, Any]:
    """What is written as `--kv-transfer-config`, with tiers in a folder; `more` goes into our part of it."""
    stores = {"g2": f"arena:{folder}/g2", "g3": f"slab:{folder}/g3", "g4": more.pop("objects", "")}
    named = [part[:2] for part in tiers.split(",")]
    extra = {"nats": url, "instance": instance, "tiers": tiers, "stores": {tier: stores[tier] for tier in named}}
    return {
        "kv_connector": "KvbmConnector",
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": extra | more,
    }


def tier_config(url: str, instance: str, folder: Path, **more: Any) -> dict[str, Any]:
    """The same for vLLM's own offload with our tier below it; `more` is ours, but for vLLM's `chunks` and `blocks_per_chunk`.

    Its worker, which asks for a GPU, is that of the benchmark.
    """
    ours = {
        "type": "KvbmTier",
        "module_path": "kvbm_nats.connectors.vllm.tier",
        "nats": url,
        "instance": instance,
        "tiers": "g3=512",
        "stores": {"g3": f"slab:{folder}/g3"},
    }
    blocks_per_chunk = more.pop("blocks_per_chunk", 1)
    chunks = more.pop("chunks", 256)
    extra = {
        "spec_name": "HostTiers",
        "spec_module_path": "stock_offload",
        "cpu_bytes_to_use": chunks * SLOT_BYTES * blocks_per_chunk,
        "blocks_per_chunk": blocks_per_chunk,
        "secondary_tiers": [ours | more],
    }
    return {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": extra}


E = TypeVar("E", bound=AnyEvent)


class EngineDied(AssertionError):
    """The engine ended, or did not answer in time."""


class Engine:
    """See the module. `ask` is a method of `processes/vllm_engine.py`."""

    def __init__(self, model: Path, **options: Any) -> None:
        command = [os.environ[PYTHON_ENV], str(PROCESSES / "vllm_engine.py"), str(model), json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._buffer = b""
        try:
            self.receive(START_TIMEOUT_S)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Give a command, and wait for what comes of it."""
        self.send(do, **arguments)
        return self.receive()

    def send(self, do: str, **arguments: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": do} | arguments).encode() + b"\n")
        self._process.stdin.flush()

    def receive(self, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            if not select.select([descriptor], [], [], timeout_s)[0]:
                raise EngineDied(f"no answer within {timeout_s:g} s")
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise EngineDied(f"it ended with {self._process.wait()}")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer

    def generate(self, prompts: Sequence[Sequence[int]], **more: Any) -> list[dict[str, Any]]:
        """What it says to each prompt: tokens, logprobs, and how many tokens of the prompt were cached."""
        outputs: list[dict[str, Any]] = self.ask("generate", prompts=prompts, **more)["outputs"]
        return outputs

    def empty_device(self) -> None:
        """Let all copies end, then empty vLLM's own cache, so that only ours is left."""
        assert self.ask("drain")["is_drained"]
        assert self.ask("reset")["ok"]

    def quit(self) -> None:
        """End it as one ends an engine."""
        self.ask("quit")
        self.kill()

    def kill(self) -> None:
        """With its workers, which may outlive it otherwise."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()


class Site:
    """One replica: its server, its folder, and its engine, of which there is one at a time."""

    def __init__(self, model: Path, server: NatsServer, folder: Path, instance: str) -> None:
        self.model, self.server, self.folder, self.instance = model, server, folder, instance
        self.engine: Engine | None = None

    def start(self, *, extra: dict[str, Any] | None = None, tiers: str = "g2=256,g3=512", **options: Any) -> Engine:
        """Start the engine, or start it again after it was killed."""
        assert self.engine is None
        config = transfer_config(self.server.url, self.instance, self.folder, tiers=tiers, **(extra or {}))
        self.engine = Engine(self.model, kv_transfer_config=config, **options)
        return self.engine

    def start_below(self, **more: Any) -> Engine:
        """Start it with vLLM's own offload, and our tier below that."""
        assert self.engine is None
        options = more.pop("options", {})
        config = tier_config(self.server.url, self.instance, self.folder, **more)
        self.engine = Engine(self.model, kv_transfer_config=config, **options)
        return self.engine

    def quit(self) -> None:
        if engine := self._forget():
            engine.quit()

    def kill(self) -> None:
        if engine := self._forget():
            engine.kill()

    def tier_file(self, tier: str, rank: int | None = None) -> Path:
        """The file that a tier's blocks lie in, or a rank's slices of them."""
        kind = {"g2": "arena", "g3": "slab"}[tier]
        folder = self.instance if rank is None else f"{self.instance}.{rank}"
        return self.folder / tier / folder / f"{tier}.{kind}"

    def lose(self, tier: str, rank: int | None = None) -> None:
        """Remove a tier's blocks, or a rank's slices of them, as when a machine was started again."""
        for file in self.tier_file(tier, rank).parent.iterdir():
            file.unlink()

    def damage(self, tier: str, slots: Sequence[int], slot_bytes: int, rank: int | None = None) -> None:
        """Put another block's bytes into these slots: finite numbers, which no kernel stumbles over."""
        with self.tier_file(tier, rank).open("r+b") as file:
            for slot in slots:
                file.seek((slot - 1 if slot else 1) * slot_bytes)
                other = file.read(slot_bytes)
                file.seek(slot * slot_bytes)
                file.write(other)

    def when(self, event: str, act: Callable[[], None]) -> None:
        """Do something, and wait until the log gets such an event of this instance from it."""

        async def wait() -> None:
            client = await nats.connect(self.server.url)
            try:
                subscription = await client.subscribe(f"kvbm.v1.{self.instance}.*.{event}")
                await client.flush()
                act()
                await subscription.next_msg(TIMEOUT_S)
            finally:
                await client.close()

        asyncio.run(wait())

    def events(self, kind: type[E]) -> list[E]:
        """All of a kind that the log of this instance has."""

        async def read() -> list[E]:
            log = await JetStreamLog.connect(self.server.url)
            try:
                end = await log.last_seq(self.instance)
                batches = [batch async for batch in log.read(self.instance, until=end)]
            finally:
                await log.close()
            events = [decode(entry.data) for batch in batches for entry in batch]
            return [event for event in events if isinstance(event, kind)]

        return asyncio.run(read())

    def verify(self, status: dict[str, Any]) -> Verdict:
        """Fold the log from its beginning, and compare it with what the engine's owner says."""

        async def fold() -> Verdict:
            log = await JetStreamLog.connect(self.server.url)
            try:
                claim = Claim(who="the engine", epoch=status["epoch"], n=status["n"], digest=status["digest"])
                return await verify(log, self.instance, live=claim)
            finally:
                await log.close()

        return asyncio.run(fold())

    def _forget(self) -> Engine | None:
        engine, self.engine = self.engine, None
        return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()


def words(answer: dict[str, Any]) -> tuple[list[int], list[float]]:
    """Tokens, and their logprobs as far as two runs of one kernel agree on them."""
    return answer["tokens"], [round(each, 2) for each in answer["logprobs"]]


def disagreement(answer: dict[str, Any], reference: dict[str, Any]) -> str:
    """Why two answers are not of one prompt's KV; empty if they may be.

    The same block comes out a little different, in bfloat16, when it is computed beside others or in other pieces. So a
    token counts where the reference was sure of it, and its logprob within what that makes.
    """
    columns = zip(
        *(each[name] for each in (answer, reference) for name in ("tokens", "logprobs", "margins")), strict=True
    )
    for at, (token, logprob, _, wanted, expected, margin) in enumerate(columns):
        if token != wanted:
            return f"token {at} is {token} and not {wanted}" if margin > NOISE else ""
        if abs(logprob - expected) > NOISE:
            return f"token {at} has logprob {logprob:.2f} and not {expected:.2f}"
    return ""
