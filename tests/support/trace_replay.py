"""A recorded trace through the state machine: what part of its blocks a tier of some policy and capacity would have had."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from kvbm_events.schema import ROOT, TierSpec
from kvbm_events.schema.errors import TierFull
from kvbm_statemachine import State, decide, evolve
from support.chained_keys import key_at

PIECE = 256
"""Blocks that a request asks for at once."""


def mooncake_prompts(name: str, limit: int | None = None) -> list[list[int]]:
    """The prompts of a Mooncake trace as block ids; skips the test where the traces are not installed."""
    root = Path(os.environ.get("KVBM_TRACES", Path(__file__).parents[3] / "shared" / "traces"))
    file = root / f"mooncake_{name}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"no traces at {root}: set KVBM_TRACES")
    with gzip.open(file, "rt") as lines:
        return [json.loads(line)["hash_ids"] for _, line in zip(range(limit or 1 << 30), lines, strict=False)]


def replay(policy: str, capacity: int, prompts: list[list[int]]) -> int:
    """How many blocks were found, one request after the other: look up, fill the rest, let go."""
    state = State()
    spec = TierSpec(tier="g1", capacity=capacity, policy=policy)
    opened = decide.plan_opening(state, namespace="n", owner="o", tiers=[spec], keep=[], requests="dropped", now_us=1)
    evolve(state, opened)
    desk = decide.Desk(state, lambda _event: None, 1)
    return sum(serve(desk, [key_at(block) for block in prompt]) for prompt in prompts)


def serve(desk: decide.Desk, keys: list[str]) -> int:
    """One request; how many of its blocks were found. A prompt that is longer than the tier stops there."""
    found = sum(len(hit.slots) for hit in decide.match(desk, "r", keys))
    try:
        for at in range(found, len(keys), PIECE):
            part = keys[at : at + PIECE]
            slots = decide.allocate(desk, "g1", "r", len(part))
            decide.register(desk, "g1", "r", slots, part, keys[at - 1] if at else ROOT)
    except TierFull:
        pass
    decide.release(desk, "r")
    return found
