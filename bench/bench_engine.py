"""vLLM on a CPU: time to the first token by where its prompt's blocks are, and throughput where nothing is found.

A Llama of 55 M parameters with random weights, made on the spot: 512 KiB a block of 32 tokens. Two engines are there at once,
and take turns: one with the connector, one with vLLM's own OffloadingConnector over host memory and its `fs` tier, whose copies
between vLLM's pages and the host are ours, since the stock ones ask for a GPU. `disk` is a hit after the host tier was emptied.

Then vLLM's own offload twice, over its `fs` tier and over our tier: what is on disk is found by engines that were started again.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from harness import ROUNDS, Peer, PeerUnavailable, Row, make_row
from kvbm_nats.nats_server import NatsServer

PYTHON_ENV = "KVBM_ENGINE_PYTHON"
HERE = Path(__file__).parent
MODEL = HERE.parent / "tests" / "processes" / "vllm_model.py"
LENGTHS = (2048, 8192)
STOCK = "vLLM's OffloadingConnector"
_MS = 1000.0


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark has this one argument
    """All rows."""
    python = os.environ.get(PYTHON_ENV)
    if not python:
        raise PeerUnavailable(f"no engine: name an interpreter that has vLLM and this project in {PYTHON_ENV}")
    rounds = 2 if quick else ROUNDS
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subprocess.run([python, str(MODEL), str(folder / "model"), "medium"], check=True)
        server = stack.enter_context(NatsServer(folder / "server"))

        def start(kinds: Sequence[str], into: ExitStack, place: Path) -> dict[str, Peer]:
            engines = {}
            for kind in kinds:
                engines[kind] = into.enter_context(closing(Peer(python, HERE / "peer_engine.py")))
                engines[kind].ask(kind=kind, model=str(folder / "model"), folder=str(place / kind), url=server.url)
            return engines

        with ExitStack() as running:
            engines = start(("kvbm", "stock", "bare"), running, folder)
            rows = [row for tokens in LENGTHS[: 1 if quick else None] for row in _first_token(engines, tokens, rounds)]
            rows.append(_throughput(engines, rounds))
        return [*rows, _after_restart(lambda into: start(("tier", "stock"), into, folder / "again"), rounds)]


def _after_restart(start: Callable[[ExitStack], dict[str, Peer]], rounds: int) -> Row:
    tokens = LENGTHS[0]
    with ExitStack() as first:
        for engine in start(first).values():
            for at in range(rounds):
                engine.ask(fill=tokens, seed=900 + at)
    with ExitStack() as second:
        engines = start(second)
        turns = [
            {kind: engine.ask(again=tokens, seed=900 + at)["disk"] * _MS for kind, engine in engines.items()}
            for at in range(rounds)
        ]
    return make_row(
        f"first token of {tokens:,}, disk after a restart, our tier under vLLM's offload",
        "ms",
        [turn["tier"] for turn in turns],
        theirs=[turn["stock"] for turn in turns],
        against="its fs tier",
        aim=1.0,
    )


def _first_token(engines: dict[str, Peer], tokens: int, rounds: int) -> list[Row]:
    turns = [
        {kind: engines[kind].ask(tokens=tokens, seed=tokens * 100 + at) for kind in ("kvbm", "stock")}
        for at in range(rounds)
    ]
    ours = {name: [turn["kvbm"][name] * _MS for turn in turns] for name in turns[0]["kvbm"]}
    theirs = {name: [turn["stock"][name] * _MS for turn in turns] for name in turns[0]["stock"]}
    what = f"first token of {tokens:,}"
    return [
        make_row(f"{what}, cold", "ms", ours["cold"], theirs=theirs["cold"], against=STOCK),
        make_row(f"{what}, vLLM's own cache", "ms", ours["local"], theirs=theirs["local"], against=STOCK),
        make_row(f"{what}, host", "ms", ours["host"], theirs=theirs["host"], against=STOCK, aim=1.0),
        make_row(f"{what}, disk", "ms", ours["disk"], theirs=theirs["disk"], against="its fs tier", aim=1.0),
        make_row(f"{what}, disk", "ms", ours["disk"], theirs=ours["cold"], against="cold", aim=10.0),
    ]


def _throughput(engines: dict[str, Peer], rounds: int) -> Row:
    turns = [
        {kind: engines[kind].ask(seed=at)["tokens_per_s"] for kind in ("kvbm", "bare")} for at in range(1, rounds + 1)
    ]
    return make_row(
        "throughput, nothing in common",
        "tokens/s",
        [turn["kvbm"] for turn in turns],
        theirs=[turn["bare"] for turn in turns],
        against="no connector",
        aim=0.98,
        more_is_better=True,
    )
