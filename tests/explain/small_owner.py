"""An owner of a few blocks, whose history a test writes command by command."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from explain.played import START_US, Engine
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import ROOT
from kvbm_nats.explain.answers import WhyMiss
from kvbm_statemachine.decide import (
    allocate,
    complete_transfer,
    evict,
    match,
    offload,
    register,
    release,
)

NAMESPACE = "model=test;block_tokens=16"


def prompt(*words: str) -> list[str]:
    """A key a word, each hashed over the one before."""
    keys: list[str] = []
    for word in words:
        keys.append(blake2b(f"{keys[-1] if keys else ROOT}/{word}".encode(), digest_size=16).hexdigest())
    return keys


def causes(found: WhyMiss) -> list[tuple[str, int, int]]:
    return [(loss.cause, loss.first_block, loss.blocks) for loss in found.losses]


class Owner:
    """An instance in a log, and what an engine does with it in a line each."""

    def __init__(self, log: MemoryLog, name: str = "a", plan: str = "g1=4", namespace: str = NAMESPACE) -> None:
        self.log, self.engine = log, Engine(log, name, plan, namespace)
        self.desk, self.state = self.engine.desk, self.engine.state

    def at(self, seconds: float) -> None:
        self.desk.now_us = START_US + int(seconds * 1e6)

    def ask(self, request: str, keys: Sequence[str], *, hold: bool = False, **more: int) -> int:
        return sum(len(hit.slots) for hit in match(self.desk, request, keys, hold=hold, **more))

    def fill(self, request: str, keys: Sequence[str], *, priority: int = 50) -> None:
        """Look up, compute the rest, let go."""
        found = self.ask(request, keys, hold=True, priority=priority)
        self.compute(request, keys, found, priority=priority)

    def compute(self, request: str, keys: Sequence[str], found: int = 0, *, priority: int = 50) -> None:
        slots = allocate(self.desk, "g1", request, len(keys) - found, priority=priority)
        register(self.desk, "g1", request, slots, keys[found:], keys[found - 1] if found else ROOT)
        release(self.desk, request)

    def down(self, keys: Sequence[str]) -> str:
        event = offload(self.desk, "g1", "g2", keys, deadline_us=self.desk.now_us + 1)
        return event.transfer

    def down_and_out(self, keys: Sequence[str]) -> None:
        """To g2, and away from g1."""
        complete_transfer(self.desk, self.down(keys), checksums="ab" * 8 * len(keys))
        evict(self.desk, "g1", keys[:1], reason="operator", actor="test")
