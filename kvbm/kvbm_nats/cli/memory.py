"""`kvbm memory`: the memory of a tier for a worker on another host."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import structlog
from cyclopts import Parameter

from kvbm_events.jetstream import Options
from kvbm_events.schema import MAX_CAPACITY
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.metrics_options import MetricsOptions
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.rank_options import RankOptions
from kvbm_nats.metrics import Families, MetricsPlace, exposed_on_loop
from kvbm_nats.metrics.memory import tell_memory
from kvbm_tiers import preset
from kvbm_tiers.host_arena import SHARED_MEMORY
from kvbm_tiers.remote import HostOptions, MemoryHost, MemoryPlan, keep_memory

PATIENCE_S = 10.0
"""How long to try for a first connection; later ones are tried for ever."""

_logger = structlog.get_logger(__name__)


def memory(
    *,
    name: str,
    namespace: Annotated[str, Parameter(env_var="KVBM_NAMESPACE")],
    capacity: int,
    layout: str = "llama-8b",
    place: RankOptions | None = None,
    folder: Path = SHARED_MEMORY / "kvbm",
    lease_s: float = 10.0,
    nats: NatsOptions | None = None,
    metrics: MetricsOptions | None = None,
) -> None:
    """Keep an arena in this host's memory as a tier of a worker on another one, which names it `--store g3=ucx://NAME`.

    One worker has it at a time. The arena outlives this process, and the next one of the name finds its blocks again. It
    ends with Ctrl-C or SIGTERM, or with exit code 2 where another one has the arena or answers to the name.

    Args:
        name: what the worker calls it; a token of NATS subjects
        namespace: fingerprint of what must agree before blocks are reused; the worker's must be the same
        capacity: blocks
        layout: the shape of a whole block: llama-8b, deepseek-v3, gpt-oss-20b, tiny
        place: see below
        folder: where the arena lies, NAME.arena: shared memory, where it is not to touch a disk
        lease_s: how long its worker may be silent before another one can have it
        nats: see below
        metrics: see below
    """
    log_to_stderr()
    given = nats or NatsOptions()
    if not 0 < capacity <= MAX_CAPACITY or lease_s <= 0:
        why = f"a capacity is 1 to {MAX_CAPACITY} blocks, and a lease above 0"
        raise InvalidCommand(f"{capacity} blocks, lease {lease_s:g} s", why=why)
    shape = preset(layout).slice((place or RankOptions()).part())
    plan = MemoryPlan(name=name, namespace=namespace, layout=shape, capacity=capacity, folder=folder)
    connection = Options(name=f"kvbm memory {name}", patience_s=PATIENCE_S)
    options = HostOptions(lease_s=lease_s, connection=connection)
    asyncio.run(_keep(given.nats_url, plan, options, (metrics or MetricsOptions()).place()))


async def _keep(url: str, plan: MemoryPlan, options: HostOptions, place: MetricsPlace | None) -> None:
    """Until a signal asks for its end. Raises as `keep_memory`."""
    is_over, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, is_over.set)
    if not os.environ.get("UCX_NET_DEVICES"):
        _logger.warning("UCX listens on every network of this host; UCX_NET_DEVICES names those that it may use")
    size_bytes = plan.capacity * plan.layout.slot_bytes
    known = {"name": plan.name, "capacity": plan.capacity, "size_bytes": size_bytes}
    hosts: list[MemoryHost] = []

    def note(host: MemoryHost) -> None:
        hosts.append(host)
        _logger.info("memory host ready", **known)

    async def measure(families: Families) -> None:
        for host in hosts:
            tell_memory(families, plan.name, host)

    async with exposed_on_loop(place, measure):
        await keep_memory(url, plan, options, is_over=is_over, on_ready=note)
    _logger.info("memory host stopped", name=plan.name)
