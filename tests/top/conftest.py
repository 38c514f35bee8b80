"""A real owner with a small trace behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.conftest import kvbm
from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from kvbm_nats.traces.demo import demo_workload
from kvbm_nats.traces.embedded import EmbeddedCache
from kvbm_nats.traces.generate import generate
from top.playing import NAMESPACE, Player

__all__ = ["kvbm"]


@pytest.fixture
def player(nats_url: str, instance: str) -> Iterator[Player]:
    """An owner embedded in this process, which plays a trace as far as it is told."""
    with BlockManager.open(nats_url, instance, namespace=NAMESPACE, tiers=parse_plan("g1=256,g2=512")) as owner:
        yield Player(owner, EmbeddedCache(owner), iter(generate(demo_workload(7, requests=200))))
